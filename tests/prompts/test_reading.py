"""Reading instructions from answers of base models and chat models, and answers without one."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from x_instruction.languages import PAPER_LANGUAGES, language
from x_instruction.prompts.instruction import OPENINGS
from x_instruction.prompts.reading import Reading, read, without_thinking
from x_instruction.prompts.refusals import KNOWN

ENGLISH = language("en")
ASKED = "How do tides work?"


def read_chat(answer: str, style: str = "question", into: str = "en", cut_off: bool = False) -> Reading:
    """Read the answer of a chat model."""
    return read(answer, style, language(into), True, cut_off=cut_off)


def read_base(answer: str, style: str = "question", opening: str = "", cut_off: bool = False) -> Reading:
    """Read the answer of a base model."""
    return read(answer, style, ENGLISH, False, opening, cut_off)


# Refusals


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, I cannot fulfill this request.",
        "I am really sorry. I am unable to read this language.",
        "Sorry, I can't assist with that.",
        "Sorry but this is not something I can do.",
        "My apologies, but I do not know this language.",
        "I apologize, but the text is not clear enough.",
        "I cannot provide a question for this text.",
        "I can't help you with this.",
        "I won't write that request.",
        "I'm unable to determine what the text says.",
        "I must decline.",
        "Unfortunately, I do not understand Swahili.",
        "As an AI language model, I don't have opinions.",
        "As an AI, I can't tell.",
        "I'm just an AI and cannot read it.",
        "I'm afraid I can't do that.",
        "I don't have enough information to write a question.",
        "Please provide the text that you want me to use.",
        "Could you please provide more context?",
        "It seems that the text is incomplete.",
        "It looks like you've sent a message in Tamil. How can I help?",
        "The text you provided is not clear.",
        "Request: I'm sorry, but I can't help with that.",
        "<think>It is harmful.</think>I'm sorry, but I can't help with that.",
        "**I'm sorry, but I can't help with that.**",
        "Sure! I'm sorry, but I can't help with that.",
    ],
)
@pytest.mark.parametrize("style", ["question", "search"])
def test_refusals_are_detected(answer: str, style: str) -> None:
    assert read_chat(answer, style).reason == "refusal"
    # An English refusal is one whatever the instruction should have been in.
    assert read_chat(answer, style, "th").reason == "refusal"


@pytest.mark.parametrize(
    ("tag", "answer"),
    [
        ("fi", "Anteeksi, mutta en voi auttaa tässä."),
        ("fi", "Valitettavasti en osaa kirjoittaa tällaista pyyntöä."),
        ("fi", "Olen pahoillani, en ymmärrä tekstiä."),
        ("id", "Maaf, saya tidak dapat membantu permintaan tersebut."),
        ("id", "Saya tidak bisa menjawab pertanyaan ini."),
        ("th", "ขออภัย ฉันไม่สามารถช่วยเรื่องนี้ได้"),
        ("th", "ฉันไม่สามารถช่วยเหลือคำขอนี้ได้"),
        ("tr", "Üzgünüm, bu konuda yardımcı olamam."),
        ("tr", "Bu istekle ilgili yardımcı olamıyorum."),
        ("vi", "Xin lỗi, tôi không thể giúp bạn việc này."),
        ("vi", "Tôi rất tiếc, nhưng tôi không thể trả lời."),
        ("bn", "দুঃখিত, আমি এই বিষয়ে সাহায্য করতে পারছি না।"),
        ("bn", "আমি এই অনুরোধে সাহায্য করতে পারব না।"),
        ("hi", "क्षमा करें, मैं इसमें मदद नहीं कर सकता।"),
        ("hi", "मुझे खेद है, मैं यह नहीं कर सकता।"),
        ("hi", "मैं इस अनुरोध में मदद नहीं कर सकता।"),
        ("sw", "Samahani, siwezi kusaidia na ombi hilo."),
        ("sw", "Siwezi kukusaidia na hilo."),
        ("ta", "மன்னிக்கவும், என்னால் இதற்கு உதவ முடியாது."),
        ("ta", "என்னால் இந்தக் கோரிக்கைக்கு உதவ முடியாது."),
        ("ur", "معذرت، میں اس میں مدد نہیں کر سکتا۔"),
        ("ur", "مجھے افسوس ہے، میں یہ نہیں کر سکتا۔"),
        ("es", "Lo siento, pero no puedo ayudarte con eso."),
        ("pt", "Desculpe, não posso ajudar com isso."),
        ("fr", "Je suis désolé, mais je ne peux pas vous aider."),
        ("de", "Es tut mir leid, aber dabei kann ich nicht helfen."),
        ("de", "Ich kann dir dabei leider nicht helfen."),
        ("it", "Mi dispiace, ma non posso aiutarti."),
        ("nl", "Het spijt me, maar daar kan ik niet mee helpen."),
        ("ru", "Извините, я не могу помочь с этим."),
        ("zh", "抱歉，我无法提供帮助。"),
        ("zh-Hant", "很抱歉，我無法協助您。"),
        ("ja", "申し訳ありませんが、お手伝いできません。"),
        ("ko", "죄송하지만 도와드릴 수 없습니다."),
        ("ar", "عذراً، لا أستطيع مساعدتك في ذلك."),
        ("fa", "متأسفم، نمی‌توانم کمک کنم."),
    ],
)
def test_refusals_in_the_language_of_the_response_are_detected(tag: str, answer: str) -> None:
    assert read_chat(answer, into=tag).reason == "refusal"
    assert read_chat(f"<think>\n…\n</think>\n\nRequest: {answer}", into=tag).reason == "refusal"


def test_a_refusal_in_the_language_of_the_passage_is_detected() -> None:
    found = read("Anteeksi, mutta I cannot read Finnish.", "question", ENGLISH, True, source=language("fi"))
    assert found.reason == "refusal"
    assert read("Pole vaulting rules", "search", ENGLISH, True, source=language("sw")).reason is None


def test_refusals_are_known_in_all_languages_of_the_paper() -> None:
    assert set(PAPER_LANGUAGES) <= KNOWN
    assert len(KNOWN) >= 20


@pytest.mark.parametrize(
    "request_",
    [
        "Write an apology letter that says sorry.",
        "How do I say I'm sorry to a friend?",
        "What is Sorry Day in Australia?",
        "Why do we say sorry so often?",
        "I can't sleep at night. What can I do?",
        "I can't find my keys. Where should I look?",
        "I'm afraid of flying. How do I get over it?",
        "I'm sorry to bother you, but how do I fix a flat tire?",
        "I don't know what to cook. Give me a recipe for lentils.",
        "I am unable to sleep. What helps?",
        "Please provide a recipe for salmon soup.",
        "Could you give me a short history of Turku?",
        "As an English teacher, how do I explain the past tense?",
        "The history of apologies in politics.",
        "None of my plants grow. What should I do?",
        "It is raining in Turku: what can children do indoors?",
    ],
)
def test_requests_that_mention_a_refusal_are_kept(request_: str) -> None:
    for style in ("question", "genre"):
        assert read_chat(request_, style) == Reading(request_)
        assert read_chat(f"Request: {request_}", style) == Reading(request_)


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        ("fi", "Kirjoita anteeksipyyntö ystävälle."),
        ("id", "Tulis surat permintaan maaf kepada guru."),
        ("tr", "Özür mektubu nasıl yazılır?"),
        ("vi", "Tôi không thể ngủ, phải làm sao?"),
        ("sw", "Andika barua ya kuomba radhi."),
        ("hi", "माँ के लिए एक पत्र लिखिए।"),
        ("es", "¿Cómo se dice lo siento en japonés?"),
    ],
)
def test_requests_in_other_languages_that_mention_a_refusal_are_kept(tag: str, text: str) -> None:
    assert read_chat(text, into=tag).reason is None


@pytest.mark.parametrize(
    "answer",
    [
        "NONE",
        "None",
        "none.",
        "Request: NONE",
        "**Request:** NONE",
        "Request: NONE (the text is a menu)",
        "<think>a menu</think>\n\nRequest: NONE",
        "Request:\nNONE",
        "N/A",
        "No request fits this text.",
        "There is no question.",
    ],
)
def test_answers_that_the_passage_is_unsuitable_are_not_answerable(answer: str) -> None:
    assert read_chat(answer).reason == "not_answerable"


# Thinking


@pytest.mark.parametrize(
    "answer",
    [
        f"<think>\nA text on tides. Request: What is a tide?\n</think>\n\n{ASKED}",
        f"A text on tides. Request: What is it?\n</think>\n\n{ASKED}",
        f"<think></think>{ASKED}",
        f"<THINK>x</THINK>{ASKED}",
        f"<thinking>one</thinking>\n<thinking>two</thinking>\nRequest: {ASKED}",
        f"<reasoning>x</reasoning>{ASKED}",
        f"<thought>x</thought>{ASKED}",
        f"[THINK]x[/THINK]{ASKED}",
        f"◁think▷x◁/think▷{ASKED}",
        f"<unused94>thought\nx<unused95>{ASKED}",
        f"<|channel|>analysis<|message|>We need<|end|><|start|>assistant<|channel|>final<|message|>{ASKED}<|return|>",
        f"analysisWe need a question. What about tides?assistantfinal{ASKED}",
        f"<think>x</think><answer>{ASKED}</answer>",
        f"<think>x</think>\n```\n{ASKED}\n```",
        f"{ASKED}<|im_end|>",
    ],
)
def test_thinking_is_removed(answer: str) -> None:
    assert read_chat(answer) == Reading(ASKED)


@pytest.mark.parametrize(
    "answer",
    ["<think>\nA text on tides. What is a tide?", "<thinking>", "<|channel|>analysis<|message|>We", "analysisWe"],
)
def test_unfinished_thinking_is_not_an_answer(answer: str) -> None:
    assert read_chat(answer, cut_off=True) == Reading("", "cut_off")
    assert read_chat(answer) == Reading("", "empty")


def test_an_answer_that_starts_with_analysis_is_kept() -> None:
    assert read_chat("Analysis of tides").text == "Analysis of tides."
    assert without_thinking("Analyse <b>tides</b>.") == "Analyse <b>tides</b>."


# Labels, preambles, fences


@pytest.mark.parametrize(
    "answer",
    [
        ASKED,
        f"\n\n{ASKED}\n",
        f"Request: {ASKED}",
        f"request: {ASKED}",
        f"Search query: {ASKED}",
        f"User question: {ASKED}",
        f"The final request: {ASKED}",
        f"**Request:** {ASKED}",
        f"**Request**: {ASKED}",
        f"### Request (English): {ASKED}",
        f"> *Question*: {ASKED}",
        f"- Question 1: {ASKED}",
        f"1. **Question:** {ASKED}",
        f"Request:\n{ASKED}",
        f"**Request:**\n\n{ASKED}\n\nIt asks for what is explained.",
        f"Question: What is a tide?\nThat is too short.\nQuestion: {ASKED}",
        f"The text is about tides.\nRequest: {ASKED}\nNote: it is a question.",
        f"Here is a fitting question:\n\n{ASKED}",
        f"Here is a fitting question: {ASKED}",
        f"Here's a question that this text answers:\n{ASKED}",
        f"Sure! Here's the question:\n\n{ASKED}",
        f"Sure!\n\n{ASKED}",
        f"Certainly! A fitting question would be: {ASKED}",
        f"Of course. The following is a request that fits:\n\n> {ASKED}",
        f"Based on the text, the question could be:\n\n{ASKED}",
        f"A possible question is: “{ASKED}”",
        f"```\n{ASKED}\n```",
        f"```text\nRequest: {ASKED}\n```",
        f"Here is the request:\n```markdown\n{ASKED}\n```\n",
        f'"{ASKED}"',
        f"1. {ASKED}\n2. What is a tide?",
        f"- {ASKED}",
        f"`{ASKED}`",
        f"{ASKED}\n\nThis question asks for the causes of tides.",
        f'{{"request": "{ASKED}"}}',
        f'```json\n{{"question": "{ASKED}", "language": "English"}}\n```',
        f"<request>{ASKED}</request>",
    ],
)
def test_text_around_a_request_is_removed(answer: str) -> None:
    assert read_chat(answer) == Reading(ASKED)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("Here is a riddle: what has keys and no locks?", "Here is a riddle: what has keys and no locks?"),
        ("Write a story with these words: fox, bear, river.", "Write a story with these words: fox, bear, river."),
        ("Compare two recipes: soup and stew", "Compare two recipes: soup and stew."),
        ("OK, how do tides work?", "OK, how do tides work?"),
        ("Sure thing", "Sure thing."),
        ("Questions about tides", "Questions about tides."),
        ("Request a refund for a late train: what do I write?", "Request a refund for a late train: what do I write?"),
        ("2024 rice prices in Vietnam", "2024 rice prices in Vietnam."),
    ],
)
def test_text_that_belongs_to_a_request_is_kept(answer: str, text: str) -> None:
    assert read_chat(answer) == Reading(text)


@pytest.mark.parametrize(
    "answer", ["Here is a fitting question:", "Sure! Here is one:", "Request:", "```\n```", "**", ""]
)
def test_an_announcement_alone_is_empty(answer: str) -> None:
    assert read_chat(answer) == Reading("", "empty")


def test_a_preamble_in_another_language_is_removed() -> None:
    assert read_chat("Đây là một câu hỏi phù hợp:\nThủy triều là gì?", into="vi") == Reading("Thủy triều là gì?")
    assert read_chat("这是一个合适的问题：\n潮汐是如何形成的？", into="zh").text.startswith("潮汐是如何形成的")


def test_the_label_of_a_search_query_is_removed() -> None:
    assert read_chat("Search query: tide times dar es salaam", "search") == Reading("Tide times dar es salaam")
    assert read_base(" Search query: tide times dar es salaam", "search") == Reading("Tide times dar es salaam")


# Answers that reached their maximum length


@pytest.mark.parametrize("read_", [read_chat, read_base])
def test_a_complete_first_sentence_of_a_truncated_answer_is_kept(read_: object) -> None:
    assert read_(f"{ASKED} Tides are the", cut_off=True) == Reading(ASKED)  # type: ignore[operator]
    assert read_(ASKED, cut_off=True) == Reading(ASKED)  # type: ignore[operator]
    assert read_("How do tides", cut_off=True).reason == "cut_off"  # type: ignore[operator]


def test_a_truncated_answer_continues_its_opening() -> None:
    assert read_base(" cook rice? Rice is", opening="How to", cut_off=True) == Reading("How to cook rice?")
    assert read_base(" cook rice", opening="How to", cut_off=True).reason == "cut_off"


def test_a_line_followed_by_another_is_complete() -> None:
    assert read_chat("Request: Explain the tides\n\nThis request", cut_off=True) == Reading("Explain the tides.")
    assert read_chat("tide times dar es salaam\n\nThis", "search", cut_off=True) == Reading("Tide times dar es salaam")
    assert read_chat("Explain the tides\n\n", cut_off=True) == Reading("Explain the tides.")
    assert read_chat("tide times dar es", "search", cut_off=True).reason == "cut_off"


def test_a_complete_first_sentence_in_another_script_is_kept() -> None:
    assert read_chat("ज्वार कैसे आता है? यह बताइए कि", into="hi", cut_off=True) == Reading("ज्वार कैसे आता है?")


# Answers of base models


@pytest.mark.parametrize("answer", ["", " ", "\n\n", "...", "?", "!!", '"', "''", "**", "- ", "# #", "…?", "“”"])
@pytest.mark.parametrize("style", OPENINGS)
def test_an_answer_without_words_is_empty(answer: str, style: str) -> None:
    assert read_base(answer, style) == Reading("", "empty")
    assert read_chat(answer, style) == Reading("", "empty")


@pytest.mark.parametrize("answer", ["Question:", "Answer: ", '"?"', "Title: ."])
def test_a_label_alone_is_empty(answer: str) -> None:
    assert read_base(answer) == Reading("", "empty")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("How do tides work?", "How do tides work?"),
        ("how do tides work", "How do tides work?"),
        ("  How do\n tides\twork ? ", "How do tides work?"),
        ("How do tides work??", "How do tides work?"),
        ("How do tides work?!", "How do tides work?"),
        ("How do tides work...", "How do tides work?"),
        ("Explain how tides work", "Explain how tides work."),
        ("Explain how tides work:", "Explain how tides work."),
        ("Write a haiku!!", "Write a haiku!"),
        ("Question: How do tides work?", "How do tides work?"),
        ("question (English): How do tides work?", "How do tides work?"),
        ("**Question:** How do tides work?", "How do tides work?"),
        ("**How do tides work**?", "How do tides work?"),
        ("**How do tides work?**", "How do tides work?"),
        ("# How do tides work?", "How do tides work?"),
        ("- `How do tides work?`", "How do tides work?"),
        ('"How do tides work?"', "How do tides work?"),
        ("“How do tides work?”", "How do tides work?"),
        ("«How do tides work?»", "How do tides work?"),
        ('Instruction: "Explain the tides."', "Explain the tides."),
        ('"How do tides work?', "How do tides work?"),
        ('What is " tide "?', 'What is " tide "?'),
        ('What is " a tide?', "What is a tide?"),
        ('Who wrote "Kalevala" and why?', 'Who wrote "Kalevala" and why?'),
        ("Describe\na\nharbour", "Describe a harbour."),
        ("Questions about tides", "Questions about tides."),
        ("น้ำขึ้นน้ำลงคืออะไร", "น้ำขึ้นน้ำลงคืออะไร."),
    ],
)
def test_a_continuation_is_read(answer: str, expected: str) -> None:
    assert read_base(answer) == Reading(expected)


def test_an_answer_continues_its_opening() -> None:
    assert read_base(" cook rice?", opening="How to") == Reading("How to cook rice?")
    assert read_base(" tides work", "instruction", "Explain how") == Reading("Explain how tides work.")
    assert read_base("", opening="How to") == Reading("How to?")


def test_a_search_query_has_no_question_mark() -> None:
    assert read_base('Query: "tide times dar es salaam?"', "search") == Reading("Tide times dar es salaam")


# Where quotes, marks, markup, lines, tags, other scripts and lone surrogates meet.
MESSY = (
    st.text(st.sampled_from("ab \n\t\r\x1c\x85\u2028\"'`*_#-.…:;,!?“”«»ß\u0ed0ก็ক্\u200d\ud800{}<>/"))
    | st.lists(st.sampled_from(["<think>", "</think>", "Request:", "\n", "```", "a", ":", '{"a":"', '"}', "NONE"])).map(
        "".join
    )
    | st.text()
)


@given(
    st.sampled_from([o.strip() for found in OPENINGS.values() for o in found]), MESSY, st.sampled_from([*OPENINGS, "x"])
)
@example("", 'a" "', "search")
def test_reading_gives_one_line_and_never_raises(opening: str, answer: str, style: str) -> None:
    for cut_off in (False, True):
        for found in (read_base(answer, style, opening, cut_off), read_chat(answer, style, cut_off=cut_off)):
            text = found.text
            assert len(text.splitlines()) <= 1
            assert text == " ".join(text.split())
            if found.reason is None:
                assert text
                assert text.count('"') % 2 == 0
            if found.reason is None and style != "search":
                assert text[-1] in ".?!"
                assert not text.endswith(("..", "??", "!!", ".?", "?.", " ."))


@given(MESSY.map(lambda text: text.replace(":", "")), st.sampled_from(["question", "instruction"]))
def test_reading_is_idempotent_without_labels(answer: str, style: str) -> None:
    once = read_base(answer, style)
    if once.reason is None:
        assert read_base(once.text, style) == once
