"use strict";
// A sheet of pairs that one person judges: one pair at a time, by keys or by touch. Nothing leaves the page before the
// person saves or shares the file.
(() => {
  const sheet = pages.data("sheet");
  const place = `x_instruction/${sheet.id}/${sheet.rater}`;
  const byId = id => document.getElementById(id);
  let state = {name: "", at: 0, answers: {}};
  let history = [];
  let focus = null;
  let unsaved = false;
  let drawn = "", changedAt = 0;

  // Questions of a pair that apply, given its answers: a question may need another one's answer.
  function applicable(answer) {
    return sheet.questions.filter(question =>
      !question.needs || question.needs.choices.includes((answer.choices || {})[question.needs.question]));
  }

  const item = () => sheet.items[state.at];
  const answerOf = id => state.answers[id] || {choices: {}};
  const complete = id => {
    const answer = answerOf(id);
    return applicable(answer).every(question => !question.required || question.id in answer.choices);
  };
  const some = answer => Boolean(Object.keys(answer.choices).length || answer.comment || answer.instruction);
  const answered = () => sheet.items.filter(one => complete(one.id)).length;

  // The question that keys and the buttons at the bottom answer.
  function current() {
    const answer = answerOf(item().id);
    const asked = applicable(answer);
    return asked.find(question => question.id === focus)
      || asked.find(question => !(question.id in answer.choices)) || asked[asked.length - 1];
  }

  function tell(text, problem = false) {
    const element = byId("message");
    element.classList.toggle("problem", problem);
    element.textContent = text;
  }

  // Autosave. The page may be open twice, so what the other one wrote is read first. A browser may refuse storage to
  // files; then the person is asked to save a file, for as long as nothing is kept.
  function keep() {
    unsaved = true;
    try {
      merge(JSON.parse(localStorage.getItem(place) || "null"));
      localStorage.setItem(place, JSON.stringify(state));
      byId("warning").hidden = true;
    } catch {
      byId("warning").hidden = false;
    }
  }

  function restore() {
    try {
      merge(JSON.parse(localStorage.getItem(place) || "null"));
    } catch {
      byId("warning").hidden = false;
    }
    toFirstOpen();
  }

  // Add answers of the same page: of each pair, the answer that was changed last counts.
  function merge(found) {
    if (!found || !found.answers) return;
    const known = new Set(sheet.items.map(one => one.id));
    for (const [id, answer] of Object.entries(found.answers)) {
      const own = state.answers[id];
      if (known.has(id) && answer && answer.choices && (!own || (answer.changed || 0) > (own.changed || 0)))
        state.answers[id] = answer;
    }
    state.name ||= String(found.name || "");
  }

  function toFirstOpen() {
    const first = sheet.items.findIndex(one => !complete(one.id));
    state.at = first < 0 ? sheet.items.length - 1 : first;
  }

  // Another tab with this page wrote something.
  function follow(event) {
    if (event.key !== place || !event.newValue) return;
    const found = JSON.parse(event.newValue);
    if (found.name && document.activeElement !== byId("name")) byId("name").value = state.name = found.name;
    merge(found);
    // Text that is being typed is not drawn over.
    if (!document.activeElement.closest("textarea")) draw();
  }

  // An answer that was taken back stays, empty, so that an older one does not come back.
  function put(id, answer) {
    state.answers[id] = {...answer, changed: Math.max(Date.now(), (answerOf(id).changed || 0) + 1)};
    keep();
  }

  // Letters that are typed into a field are one step of the history.
  function change(id, next, field) {
    const last = history[history.length - 1];
    if (!field || !last || last.id !== id || last.field !== field) history.push({id, field, before: answerOf(id)});
    put(id, next);
    byId("undo").disabled = false;
  }

  function choose(choice) {
    const question = current(), id = item().id, before = answerOf(id);
    const choices = {...before.choices, [question.id]: choice.id};
    // An answer that no longer applies, such as the flaw of a pair that is good after all, is removed.
    const asked = new Set(applicable({choices}).map(one => one.id));
    for (const name of Object.keys(choices)) if (!asked.has(name)) delete choices[name];
    change(id, {...before, choices});
    focus = null;
    const rest = applicable(answerOf(id)).some(one => !(one.id in choices));
    if (rest) return ask();
    if (answered() === sheet.items.length) {
      draw();
      tell("All pairs are answered. Save your answers to a file, or share them.");
      byId("save").focus();
    } else go(nextOpen());
  }

  // Draw the present question, and say it to screen readers: the button that was pressed is no longer there.
  function ask() {
    draw();
    byId("question").focus({preventScroll: true});
  }

  // The next pair without an answer, after this one or else from the start.
  function nextOpen() {
    const order = [...sheet.items.keys()];
    const turned = [...order.slice(state.at + 1), ...order.slice(0, state.at + 1)];
    return turned.find(number => !complete(sheet.items[number].id)) ?? state.at;
  }

  function go(number) {
    if (number < 0 || number >= sheet.items.length) return;
    state.at = number;
    focus = null;
    tell("");
    draw();
    byId("pair").focus({preventScroll: true});
    scrollTo(0, 0);
  }

  function undo() {
    const last = history.pop();
    if (!last) return tell("There is nothing to undo.");
    put(last.id, last.before);
    go(sheet.items.findIndex(one => one.id === last.id));
    tell("Undone.");
  }

  function write(field, value) {
    const id = item().id, before = answerOf(id), next = {...before, choices: {...before.choices}};
    // An instruction that equals the given one is no edit.
    if (!value.trim() || (field === "instruction" && value.trim() === item().instruction.trim())) delete next[field];
    else next[field] = value.trim();
    if (JSON.stringify(next) !== JSON.stringify(before)) change(id, next, field);
  }

  function exported() {
    return JSON.stringify({
      format: "x_instruction answers", version: 1, sheet: sheet.id, rater: sheet.rater, name: state.name.trim(),
      saved: new Date().toISOString(),
      answers: Object.fromEntries(Object.entries(state.answers).filter(([, answer]) => some(answer))),
    }, null, 1);
  }

  const fileName = () => `answers-${sheet.id.slice(0, 8)}-${sheet.rater}.json`;

  function save() {
    const address = URL.createObjectURL(new Blob([exported()], {type: "application/json"}));
    const link = pages.make("a", {href: address, download: fileName()});
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
    unsaved = false;
    tell(`Saved ${answered()} of ${sheet.items.length} pairs as ${fileName()}.`);
  }

  // Browsers share text files, but not JSON.
  const shared = text => new File([text], fileName().replace(".json", ".txt"), {type: "text/plain"});

  async function share() {
    const file = shared(exported());
    try {
      await navigator.share({files: [file], title: sheet.title});
      unsaved = false;
      tell("Shared.");
    } catch (error) {
      if (error.name !== "AbortError") tell("Sharing failed. Save your answers to a file instead.", true);
    }
  }

  async function open(file) {
    try {
      const found = JSON.parse(await file.text());
      if (found.format !== "x_instruction answers") throw new TypeError("another format");
      if (found.sheet !== sheet.id) return tell(`${file.name} has answers to another sheet.`, true);
      if (found.rater !== sheet.rater)
        return tell(`${file.name} is of rater ${found.rater}: open it on the page rater-${found.rater}.html.`, true);
      merge(found);
      keep();
      toFirstOpen();
      byId("name").value = state.name;
      draw();
      tell(`Added the answers of ${file.name}. Newer ones on this page are kept.`);
    } catch {
      tell(`${file.name} is not a file of answers.`, true);
    }
  }

  function draw() {
    const one = item(), answer = answerOf(one.id), number = answered();
    byId("done").value = number;
    byId("count").textContent = `${number} of ${sheet.items.length} answered`;
    byId("pair").textContent = `Pair ${state.at + 1} of ${sheet.items.length}`;
    byId("asked").replaceChildren(pages.text("div", one.instruction_language, one.instruction));
    byId("texts").replaceChildren(...one.texts.map((text, place) => pages.make("section", {className: "panel"},
      pages.make("h3", {}, sheet.labels[place]), pages.text("div", one.language, text))));
    byId("texts").classList.toggle("two", one.texts.length > 1);
    drawChips(answer);
    drawQuestion(answer);
    byId("comment").value = answer.comment || "";
    if (sheet.editable) {
      byId("edit").value = answer.instruction ?? one.instruction;
      byId("edit").lang = one.instruction_language;
      byId("edit").dir = pages.direction(one.instruction_language);
    }
    byId("undo").disabled = !history.length;
    byId("back").disabled = state.at === 0;
    byId("next").disabled = state.at === sheet.items.length - 1;
  }

  // What was answered for this pair; a tap opens the question again.
  function drawChips(answer) {
    const chips = applicable(answer).filter(question => question.id in answer.choices).map(question => {
      const choice = question.choices.find(one => one.id === answer.choices[question.id]);
      const chip = pages.make("button", {type: "button"}, `${question.text} ${choice ? choice.text : ""}`);
      chip.addEventListener("click", () => { focus = question.id; ask(); });
      return pages.make("li", {}, chip);
    });
    byId("chips").replaceChildren(...chips);
    byId("chips").hidden = !chips.length;
  }

  function drawQuestion(answer) {
    const question = current(), now = `${item().id} ${question.id}`;
    if (drawn !== now) [drawn, changedAt] = [now, performance.now()];
    byId("question").textContent = question.text;
    byId("choices").classList.toggle("four", question.choices.length === 4);
    byId("choices").replaceChildren(...question.choices.map((choice, place) => {
      const pressed = answer.choices[question.id] === choice.id;
      const button = pages.make("button", {type: "button", "aria-pressed": String(pressed)}, `${choice.text} `,
        pages.make("kbd", {"aria-hidden": "true"}, String(place + 1)));
      // The second tap of a double tap is for the question before. A click by keyboard has no detail.
      button.addEventListener("click", event => event.detail && performance.now() - changedAt < 300 || choose(choice));
      return button;
    }));
  }

  // The key as on a Latin keyboard: others have letters and digits of their own in the same places.
  function keyOf(event) {
    if (event.key.length > 1) return event.key;
    if (/[a-z0-9]/i.test(event.key)) return event.key.toLowerCase();
    const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code), letter = /^Key([A-Z])$/.exec(event.code);
    return digit && !event.shiftKey ? digit[1] : letter ? letter[1].toLowerCase() : event.key;
  }

  function pressed(event) {
    const typing = event.target.closest("input, textarea, select"), key = keyOf(event);
    if (key === "Escape" && typing) return typing.blur();
    // A key that is held is pressed once.
    if (typing || event.altKey || event.repeat) return;
    if ((event.ctrlKey || event.metaKey) && key === "z") { event.preventDefault(); return undo(); }
    if (event.ctrlKey || event.metaKey) return;
    const question = current(), choice = question.choices[Number(key) - 1];
    if (choice) { event.preventDefault(); return choose(choice); }
    const actions = {
      ArrowRight: () => go(state.at + 1), n: () => go(state.at + 1),
      ArrowLeft: () => go(state.at - 1), p: () => go(state.at - 1),
      u: undo, s: save, c: () => type("comment"), e: () => sheet.editable && type("edit"),
    };
    if (key in actions) { event.preventDefault(); actions[key](); }
  }

  function type(id) {
    byId("more").open = true;
    byId(id).focus();
  }

  function start() {
    byId("done").max = sheet.items.length;
    restore();
    byId("name").value = state.name;
    byId("name").addEventListener("input", event => { state.name = event.target.value; keep(); });
    byId("comment").addEventListener("input", event => write("comment", event.target.value));
    if (sheet.editable) byId("edit").addEventListener("input", event => write("instruction", event.target.value));
    byId("back").addEventListener("click", () => go(state.at - 1));
    byId("next").addEventListener("click", () => go(state.at + 1));
    byId("undo").addEventListener("click", undo);
    byId("save").addEventListener("click", save);
    byId("open").addEventListener("change", event => {
      const [file] = event.target.files;
      // So that choosing the same file again is a change, too.
      event.target.value = "";
      if (file) open(file);
    });
    if (navigator.canShare && navigator.canShare({files: [shared("")]})) {
      byId("share").hidden = false;
      byId("share").addEventListener("click", share);
    }
    document.addEventListener("keydown", pressed);
    addEventListener("storage", follow);
    addEventListener("beforeunload", event => { if (unsaved && !byId("warning").hidden) event.preventDefault(); });
    draw();
  }

  start();
})();
