"use strict";
// Shared by all pages: data, elements, and text whose hidden characters are visible.
const pages = (() => {
  // The same characters as in text.py.
  const hidden = /(?![\u00ad\u200b-\u200d\u2060\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2])[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200e\u200f\u202a-\u202e\u2028\u2029\u2061-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\ue000-\uf8ff\u{e0000}-\u{e007f}\u{f0000}-\u{10ffff}]/gu;
  const code = character => "U+" + character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");

  // The value that the page holds under a name.
  function data(name) {
    return JSON.parse(document.getElementById("data-" + name).textContent);
  }

  // Append a text to an element. Elements of class "hidden-char" show the codes of hidden characters.
  function show(element, text) {
    let end = 0;
    for (const match of text.matchAll(hidden)) {
      const mark = document.createElement("span");
      mark.className = "hidden-char";
      mark.textContent = code(match[0]);
      element.append(text.slice(end, match.index), mark);
      end = match.index + match[0].length;
    }
    element.append(text.slice(end));
    return element;
  }

  // An element: make("p", {className: "note"}, "text", otherElement). Strings go through show.
  function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in element) element[name] = value;
      else element.setAttribute(name, value);
    }
    for (const child of children) {
      if (child instanceof Node) element.append(child);
      else if (child !== null && child !== undefined) show(element, String(child));
    }
    return element;
  }

  // Scripts that run from right to left. languages.py has the same list.
  const rightToLeft = ["Adlm", "Arab", "Aran", "Hebr", "Mand", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa"];

  // The direction of a language's script; of the first strong letter ("auto") if the language or its script is unknown.
  function direction(language) {
    try {
      const locale = new Intl.Locale(language), script = locale.language !== "und" && locale.maximize().script;
      return !script ? "auto" : rightToLeft.includes(script) ? "rtl" : "ltr";
    } catch {
      return "auto";
    }
  }

  // An element with text of a language. An Urdu text that begins with a Latin name runs from right to left, too.
  function text(tag, language, value, className = "text") {
    const element = make(tag, {dir: direction(language), className}, value);
    if (language) element.lang = language;
    return element;
  }

  return {data, show, make, text, direction};
})();
