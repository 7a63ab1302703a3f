"""Layout problems of a page: text that is cut off, overlaps, or makes the page scroll sideways."""

from __future__ import annotations

from headless import Page

# Elements with text of their own, as they are shown now.
_SCRIPT = """
(() => {
  const problems = [], hidden = "svg, select, .visually-hidden, .skip, noscript";
  const shown = [...document.querySelectorAll("body *")].filter(one =>
    one.checkVisibility({visibilityProperty: true}) && !one.closest(hidden)
    && [...one.childNodes].some(child => child.nodeType === Node.TEXT_NODE && child.data.trim()));
  const name = one => one.localName + "." + one.className + " " + one.textContent.trim().slice(0, 40);
  // What scrolls by itself may have text beyond the edge of the page; a sticky bar is over what scrolls under it.
  const moves = one => one && (["auto", "scroll"].includes(getComputedStyle(one).overflowX)
    || getComputedStyle(one).position === "sticky" || moves(one.parentElement));
  const boxes = [];
  for (const one of shown) {
    const hides = ["hidden", "clip"].includes(getComputedStyle(one).overflowX);
    if (hides && one.clientWidth && one.scrollWidth > one.clientWidth + 1)
      problems.push("cut off: " + name(one));
    const scrolls = moves(one);
    const range = document.createRange();
    for (const child of one.childNodes) {
      if (child.nodeType !== Node.TEXT_NODE || !child.data.trim()) continue;
      range.selectNodeContents(child);
      for (const box of range.getClientRects()) {
        if (box.width < 1 || box.height < 1) continue;
        if (!scrolls && (box.left < -1 || box.right > innerWidth + 1)) problems.push("outside: " + name(one));
        if (!scrolls) boxes.push([one, box]);
      }
    }
  }
  boxes.sort((a, b) => a[1].top - b[1].top);
  for (let i = 0; i < boxes.length; i++) {
    const [one, a] = boxes[i];
    for (let j = i + 1; j < boxes.length && boxes[j][1].top < a.bottom; j++) {
      const [other, b] = boxes[j];
      if (one === other || one.contains(other) || other.contains(one)) continue;
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      // Lines of tall scripts reach a little into each other's boxes.
      if (across > 2 && down > 0.3 * Math.min(a.height, b.height))
        problems.push("overlap: " + name(one) + " | " + name(other));
    }
  }
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth + 1) problems.push("the page scrolls sideways: " + wide);
  return [...new Set(problems)];
})()
"""


def problems(page: Page) -> list[str]:
    """Every problem of the layout at the present size."""
    found: list[str] = page.value(_SCRIPT)
    return found
