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
  let stored = true;

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

  // Autosave. A browser may refuse storage to files; then the person is told to save a file.
  function keep() {
    unsaved = true;
    try {
      localStorage.setItem(place, JSON.stringify(state));
    } catch {
      if (stored) tell("This browser cannot keep your answers. Save them to a file before you close the page.", true);
      stored = false;
    }
  }

  function restore() {
    try {
      const found = JSON.parse(localStorage.getItem(place) || "null");
      if (found && found.answers) take(found);
    } catch {
      stored = false;
    }
  }

  function take(found) {
    const known = new Set(sheet.items.map(one => one.id));
    const answers = Object.entries(found.answers).filter(([id, answer]) => known.has(id) && answer && answer.choices);
    state = {name: String(found.name || ""), at: 0, answers: Object.fromEntries(answers)};
    const first = sheet.items.findIndex(one => !complete(one.id));
    state.at = first < 0 ? sheet.items.length - 1 : first;
  }

  function change(id, next) {
    history.push({id, before: state.answers[id]});
    state.answers[id] = next;
    keep();
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
    if (rest) return draw();
    if (answered() === sheet.items.length) {
      draw();
      tell("All pairs are answered. Save your answers to a file, or share them.");
      byId("save").focus();
    } else go(nextOpen());
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
    if (last.before === undefined) delete state.answers[last.id];
    else state.answers[last.id] = last.before;
    keep();
    go(sheet.items.findIndex(one => one.id === last.id));
    tell("Undone.");
  }

  function write(field, value) {
    const id = item().id, before = answerOf(id), next = {...before, choices: {...before.choices}};
    // An instruction that equals the given one is no edit.
    if (!value.trim() || (field === "instruction" && value.trim() === item().instruction.trim())) delete next[field];
    else next[field] = value.trim();
    if (JSON.stringify(next) !== JSON.stringify(before)) change(id, next);
  }

  function exported() {
    return JSON.stringify({
      format: "x_instruction answers", version: 1, sheet: sheet.id, rater: sheet.rater, name: state.name.trim(),
      saved: new Date().toISOString(), answers: state.answers,
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

  async function share() {
    const file = new File([exported()], fileName(), {type: "application/json"});
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
      take(found);
      history = [];
      keep();
      byId("name").value = state.name;
      draw();
      tell(`Opened ${file.name}.`);
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
      chip.addEventListener("click", () => { focus = question.id; draw(); });
      return pages.make("li", {}, chip);
    });
    byId("chips").replaceChildren(...chips);
    byId("chips").hidden = !chips.length;
  }

  function drawQuestion(answer) {
    const question = current();
    byId("question").textContent = question.text;
    byId("choices").classList.toggle("four", question.choices.length === 4);
    byId("choices").replaceChildren(...question.choices.map((choice, place) => {
      const pressed = answer.choices[question.id] === choice.id;
      const button = pages.make("button", {type: "button", "aria-pressed": String(pressed)}, `${choice.text} `,
        pages.make("kbd", {"aria-hidden": "true"}, String(place + 1)));
      button.addEventListener("click", () => choose(choice));
      return button;
    }));
  }

  function pressed(event) {
    const typing = event.target.closest("input, textarea, select");
    if (event.key === "Escape" && typing) return typing.blur();
    if (typing || event.altKey) return;
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") { event.preventDefault(); return undo(); }
    if (event.ctrlKey || event.metaKey) return;
    const question = current(), choice = question.choices[Number(event.key) - 1];
    if (choice) { event.preventDefault(); return choose(choice); }
    const actions = {
      ArrowRight: () => go(state.at + 1), n: () => go(state.at + 1),
      ArrowLeft: () => go(state.at - 1), p: () => go(state.at - 1),
      u: undo, s: save, c: () => type("comment"), e: () => sheet.editable && type("edit"),
    };
    if (event.key in actions) { event.preventDefault(); actions[event.key](); }
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
    byId("comment").addEventListener("change", event => write("comment", event.target.value));
    if (sheet.editable) byId("edit").addEventListener("change", event => write("instruction", event.target.value));
    byId("back").addEventListener("click", () => go(state.at - 1));
    byId("next").addEventListener("click", () => go(state.at + 1));
    byId("undo").addEventListener("click", undo);
    byId("save").addEventListener("click", save);
    byId("open").addEventListener("change", event => event.target.files[0] && open(event.target.files[0]));
    const file = new File([""], "answers.json", {type: "application/json"});
    if (navigator.canShare && navigator.canShare({files: [file]})) {
      byId("share").hidden = false;
      byId("share").addEventListener("click", share);
    }
    document.addEventListener("keydown", pressed);
    addEventListener("beforeunload", event => { if (unsaved && !stored) event.preventDefault(); });
    draw();
    if (!stored) tell("This browser cannot keep your answers. Save them to a file before you close the page.", true);
  }

  start();
})();
