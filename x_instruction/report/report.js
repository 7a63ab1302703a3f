"use strict";
// The browser of rows, and the switch of the language.
(() => {
  const PAGE = 20, SHORT = 700, MOST_FOUND = 500, CHUNK = 1000;
  const set = pages.data("set"), data = pages.data("rows");
  const $ = id => document.getElementById(id);
  const rows = data.rows.map((values, number) => {
    const row = {number};
    data.fields.forEach((field, place) => {
      row[field] = field in data.pools ? data.pools[field][values[place]] : values[place];
    });
    return row;
  });
  const candidates = new Map(Object.entries(data.candidates)), others = new Map(Object.entries(data.others));
  // Equal for the cases of a letter. A Turkish or Azerbaijani i has a dot in both cases or in none.
  const collapsed = text => text.normalize("NFKC").toLowerCase().replaceAll("\u0307", "").replaceAll("ı", "i");
  const rounded = value => typeof value === "number" ? Number(value.toFixed(4)) : value;
  let page = 0, found = rows, whole = null, scan = 0;

  function haystack(row) {
    row.text ??= collapsed(row.instruction + "\n" + row.output + "\n" + row.id + "\n" + (row.url ?? ""));
    return row.text;
  }

  function count(number, noun) {
    return number.toLocaleString("en") + " " + noun + (number === 1 ? "" : "s");
  }

  function options(select, values, names) {
    select.replaceChildren(...values.map((value, place) => pages.make("option", {value}, names[place])));
  }

  function setUp() {
    const reasons = new Map();
    for (const row of rows) if (row.state !== "kept") reasons.set(row.state, (reasons.get(row.state) ?? 0) + 1);
    const names = [...reasons.keys()].sort();
    const states = ["kept", ...(names.length ? ["dropped", ...names.map(name => "=" + name)] : [])];
    options($("state"), states, ["kept rows", ...(names.length ? ["dropped rows", ...names.map(name => "dropped: " + name)] : [])]);
    const sources = [...new Set(rows.filter(row => row.state === "kept").map(row => row.source))].sort();
    options($("source"), ["", ...sources], ["all sources", ...sources.map(name => name || "none stated")]);
  }

  function matches(row, filter) {
    if (filter.language && row.language !== filter.language) return false;
    if (filter.state === "kept" ? row.state !== "kept" : row.state === "kept") return false;
    if (filter.state.startsWith("=") && row.state !== filter.state.slice(1)) return false;
    if (filter.source && row.source !== filter.source) return false;
    if (filter.least !== null && !(row.score >= filter.least)) return false;
    return !filter.query || haystack(row).includes(filter.query);
  }

  const ORDERS = {
    "score-down": (a, b) => b.score - a.score, "score-up": (a, b) => a.score - b.score,
    "long": (a, b) => b.chars - a.chars, "short": (a, b) => a.chars - b.chars,
  };

  function chosen() {
    const least = $("least").value;
    return {
      language: $("language").value, state: $("state").value, source: $("source").value,
      least: least === "" ? null : Number(least), query: collapsed($("search").value.trim()),
    };
  }

  function update() {
    if (whole) return void searchWhole().catch(failed);
    const filter = chosen();
    found = rows.filter(row => matches(row, filter));
    const order = ORDERS[$("sort").value];
    if (order) found.sort((a, b) => order(a, b) || a.number - b.number);
    page = 0;
    draw();
  }

  function draw() {
    if (whole && !whole.found) return void drawWhole().catch(failed);
    const first = page * PAGE, shown = found.slice(first, first + PAGE);
    const kept = !whole && set.sampled < set.total ? " of the sample of " + count(set.sampled, "row") + " in this page (" + count(set.total, "row") + " in the set)" : "";
    $("count").textContent = found.length
      ? count(found.length, "row") + kept + ", " + (first + 1).toLocaleString("en") + " to " + (first + shown.length).toLocaleString("en") + " shown"
      : "No row matches" + kept + ".";
    $("list").replaceChildren(...shown.map(drawRow));
    drawPager(found.length);
    highlight();
  }

  function drawPager(number) {
    const last = Math.max(0, Math.ceil(number / PAGE) - 1);
    const turn = (name, target) => pages.make("button", {type: "button", disabled: target < 0 || target > last, onclick: () => {
      page = target;
      draw();
      $("rows").scrollIntoView();
      $("count").focus();
    }}, name);
    $("pager").replaceChildren(turn("Previous", page - 1), pages.make("span", {}, "Page " + (page + 1) + " of " + (last + 1)), turn("Next", page + 1));
  }

  // A text, the start of it if it is long.
  function passage(language, value, chars) {
    const text = pages.text("p", language, value.slice(0, SHORT));
    if (value.length <= SHORT && chars <= value.length) return [text];
    const cut = chars > [...value].length ? "The Parquet file has all of its " + count(chars, "character") + "." : "";
    const button = pages.make("button", {type: "button", className: "more"}, "Show " + count(Math.min(chars, value.length), "character"));
    button.addEventListener("click", () => {
      text.replaceChildren();
      pages.show(text, value);
      button.replaceWith(pages.make("span", {className: "note"}, cut));
      text.tabIndex = -1;
      text.focus({preventScroll: true});
    });
    return value.length > SHORT ? [text, button] : [text, pages.make("span", {className: "note"}, cut)];
  }

  function drawRow(row) {
    const isKept = row.state === "kept";
    const instruction = pages.make("div", {}, pages.make("h3", {}, "Instruction"),
      ...(row.instruction ? passage(row.instruction_language || "", row.instruction, 0) : [pages.make("p", {className: "note"}, "none: the passage was dropped")]));
    const response = pages.make("div", {}, pages.make("h3", {}, "Response"),
      ...(row.output ? passage(row.language, row.output, row.chars) : [pages.make("p", {className: "note"}, "not stored")]));
    const details = pages.make("div", {className: "details", hidden: true});
    const button = pages.make("button", {type: "button"}, "Details");
    button.setAttribute("aria-expanded", "false");
    button.setAttribute("aria-label", "Details of " + row.id);
    button.addEventListener("click", () => {
      if (!details.children.length) details.append(...drawDetails(row));
      details.hidden = !details.hidden;
      button.setAttribute("aria-expanded", String(!details.hidden));
    });
    const facts = [pages.make("span", {}, languageName(row.language))];
    if (!isKept) facts.push(pages.make("span", {className: "mark"}, row.state), pages.make("span", {}, row.stage + (row.detail ? ": " + row.detail : "")));
    if (row.score !== null) facts.push(pages.make("span", {}, "score ", pages.make("b", {}, String(row.score))));
    if (others.has(row.id)) facts.push(pages.make("span", {className: "mark"}, "also in " + set.other));
    facts.push(pages.make("code", {}, row.id));
    return pages.make("li", {className: isKept ? "row" : "row dropped"},
      pages.make("div", {className: "pair"}, instruction, response),
      pages.make("div", {className: "foot"}, ...facts, ...(isKept ? [button] : [])), details);
  }

  function languageName(tag) {
    const entry = set.languages.find(one => one[0] === tag);
    return entry ? entry[1] : tag;
  }

  function drawDetails(row) {
    const list = pages.make("dl", {});
    const fields = {
      "source": row.source, "address": row.url, "licence": row.license, "document": row.document_id, "split": row.split,
      "language confidence": row.confidence, "style": row.style, "generator": row.generator, "rater": row.rater,
      "round": row.round, "cluster": row.cluster, "rank in the selection": row.rank, "characters of the response": row.chars,
    };
    for (const [name, value] of Object.entries(fields)) {
      if (value !== "" && value !== null && value !== undefined) list.append(pages.make("dt", {}, name), pages.make("dd", {}, pages.make("bdi", {}, String(value))));
    }
    const parts = [list];
    const rated = candidates.get(row.id.replace(/-\d+(-r\d+)?$/, ""));
    if (rated) parts.push(table("All instructions for this response", ["Instruction", "Style", "Score", "Round", "Fate"], rated, row));
    const beside = others.get(row.id);
    if (beside) parts.push(table("In " + set.other, ["Instruction", "Style", "Score", "Generator"], beside, row));
    return parts;
  }

  function table(title, heads, lines, row) {
    const head = pages.make("tr", {}, ...heads.map(name => pages.make("th", {scope: "col"}, name)));
    const body = lines.map(line => pages.make("tr", {}, ...line.map((value, place) => place === 0
      ? pages.text("td", row.instruction_language, value)
      : pages.make("td", {}, value === null ? "none" : String(rounded(value))))));
    const region = pages.make("div", {className: "scroll", tabIndex: 0}, pages.make("table", {}, pages.make("caption", {}, title), pages.make("thead", {}, head), pages.make("tbody", {}, ...body)));
    region.setAttribute("role", "region");
    region.setAttribute("aria-label", title + ": " + row.id);
    return region;
  }

  // Mark what was searched for, where the browser can.
  function highlight() {
    if (!window.Highlight) return;
    CSS.highlights.delete("found");
    const query = collapsed($("search").value.trim());
    if (!query) return;
    const marks = new Highlight(), walker = document.createTreeWalker($("list"), NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      // Where each unit of the collapsed text is in the node: letters can get longer, shorter or disappear.
      let text = "", from = 0;
      const places = [];
      for (const letter of node.data) {
        const short = collapsed(letter);
        text += short;
        for (let i = 0; i < short.length; i++) places.push([from, from + letter.length]);
        from += letter.length;
      }
      for (let at = text.indexOf(query); at >= 0; at = text.indexOf(query, at + query.length)) {
        const range = new Range();
        range.setStart(node, places[at][0]);
        range.setEnd(node, places[at + query.length - 1][1]);
        marks.add(range);
      }
    }
    CSS.highlights.set("found", marks);
  }

  // All rows of the chosen language or of all of them, read from Parquet files in ranges. Only a server has the files at hand.
  function offerWhole() {
    if (!location.protocol.startsWith("http") || !Object.keys(set.files).length) return;
    const button = pages.make("button", {type: "button", id: "read"}, "Read all rows");
    button.addEventListener("click", async () => {
      if (whole) setWhole(null);
      else if (!await openWhole()) return;
      update();
    });
    $("whole").append(button, pages.make("span", {className: "note"}, "from the Parquet files beside this page, of the language chosen above."));
    $("whole").hidden = false;
    setWhole(null);
  }

  // Show what is opened, or the sample if it is null.
  function setWhole(opened) {
    whole = opened;
    $("read").setAttribute("aria-pressed", String(whole !== null));
    $("sort").disabled = $("state").disabled = whole !== null;
  }

  // Show the sample, and why.
  function failed(error) {
    scan++;
    setWhole(null);
    update();
    $("count").textContent = "The Parquet files cannot be read: " + error.message + ". " + $("count").textContent;
  }

  // Open the files of the chosen language. False if they cannot be read, or if something else was asked for meanwhile.
  async function openWhole() {
    const mine = ++scan, tag = $("language").value, files = [];
    let total = 0;
    $("count").textContent = "Opening…";
    try {
      for (const path of tag ? set.files[tag] : Object.values(set.files).flat()) {
        const file = await parquet.open(path);
        files.push({file, start: total, split: path.split("/").pop().split("-")[0]});
        total += file.rows;
      }
    } catch (error) {
      if (mine === scan) failed(error);
      return false;
    }
    if (mine === scan) setWhole({tag, files, total, found: null});
    return mine === scan;
  }

  async function readWhole(first, last) {
    const read = [];
    for (const {file, start, split} of whole.files) {
      const from = Math.max(first - start, 0), to = Math.min(last - start, file.rows);
      if (from < to) for (const row of await parquet.read(file, from, to)) read.push(published(row, split, first + read.length));
    }
    return read;
  }

  // A row as in the sample. Shards of a run have other names for the response and the id.
  function published(row, split, number) {
    const output = row.output ?? row.text;
    const id = row.output === undefined ? row.id + "-" + row.candidate + (row.round ? "-r" + row.round : "") : row.id;
    return {...row, id, output, number, split, state: "kept", chars: [...output].length, score: rounded(row.score), confidence: rounded(row.identified_confidence), generator: row.generator + " @ " + row.generator_revision, text: undefined};
  }

  async function drawWhole() {
    const first = page * PAGE, last = Math.min(first + PAGE, whole.total), drawn = page, current = whole;
    $("count").textContent = "Reading…";
    const shown = await readWhole(first, last);
    if (whole !== current || page !== drawn || whole.found) return;
    $("count").textContent = "All " + count(whole.total, "row") + " of " + (whole.tag ? languageName(whole.tag) : "all languages") + ", " + (first + 1).toLocaleString("en") + " to " + last.toLocaleString("en") + " shown";
    $("list").replaceChildren(...shown.map(drawRow));
    drawPager(whole.total);
  }

  // Scan the files for rows that match, and show them as they are found.
  async function searchWhole() {
    const filter = {...chosen(), language: "", state: "kept"};
    if ($("language").value !== whole.tag && !await openWhole()) return;
    const mine = ++scan;
    page = 0;
    whole.found = null;
    if (!filter.query && !filter.source && filter.least === null) return drawWhole();
    whole.found = found = [];
    for (let first = 0; first < whole.total && found.length < MOST_FOUND; first += CHUNK) {
      const read = await readWhole(first, Math.min(first + CHUNK, whole.total));
      if (!whole || mine !== scan) return;
      found.push(...read.filter(row => matches(row, filter)));
      draw();
      const read_rows = Math.min(first + CHUNK, whole.total);
      $("count").textContent += read_rows < whole.total ? "; " + read_rows.toLocaleString("en") + " of " + count(whole.total, "row") + " read" : "; all " + count(whole.total, "row") + " read";
    }
  }

  function switchLanguage() {
    const chosen = $("language").value;
    for (const element of document.querySelectorAll("[data-language]")) {
      element.hidden = chosen !== "" && element.dataset.language !== chosen;
      if (chosen && element.localName === "details") element.open = true;
    }
    update();
  }

  setUp();
  offerWhole();
  $("language").addEventListener("change", switchLanguage);
  $("filters").addEventListener("input", update);
  $("filters").addEventListener("submit", event => event.preventDefault());
  $("filters").addEventListener("reset", () => setTimeout(update));
  $("count").tabIndex = -1;
  update();
})();
