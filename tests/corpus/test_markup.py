from __future__ import annotations

import time

import pytest

from x_instruction.corpus.clean import normalise
from x_instruction.corpus.markup import marks, plain

STORY = "Hapo zamani za kale palikuwa na bweha mwenye njaa sana aliyeishi karibu na kijiji."


@pytest.mark.parametrize(
    "text",
    [
        STORY,
        "Bonyeza <Enter> kisha andika <jina> lako; a < b na b > c.",
        "Bei ni 5 * 3 * 2 na snake_case_name ni jina.",
        "Swali [swali] na jibu [1] mbali na neno.",
        "R&D na AT&T; #hashtag",
        "f(x) = {1, 2}; ni sawa",
    ],
)
def test_text_without_markup_is_unchanged(text: str) -> None:
    assert plain(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<p>Moja <b>mbili</b>&nbsp;tatu.</p><p>Nne&hellip;</p>", "Moja mbili tatu.\nNne…"),
        ("Mstari wa kwanza<br>\nwa pili<br/>wa tatu", "Mstari wa kwanza\nwa pili\nwa tatu"),
        ("<script>var a = '<p>x</p>';</script><p>Neno</p><style>p {}</style>", "Neno"),
        ('<nav><a href="/">Nyumbani</a></nav><p>Neno la <a href="x">kwanza</a> hapa.</p>', "Neno la kwanza hapa."),
        ('<ul><li><a href="x">Habari za leo</a></li><li>Kuku wa kienyeji</li></ul>', "- Kuku wa kienyeji"),
        ("Neno <!-- siri --> la mwisho &amp;quot;hapa&amp;quot;", 'Neno la mwisho "hapa"'),
        ('ref="./x" title="y">Neno la kwanza</a> na <a href="', "Neno la kwanza na"),
        ("<div markdown='1'>\n\nNeno la kwanza.\nNeno la pili.\n\nNeno la tatu.\n</div>",
         "Neno la kwanza.\nNeno la pili.\n\nNeno la tatu."),
        ("<nav>Hakuna mwisho wa menyu. Neno linabaki.", "Hakuna mwisho wa menyu. Neno linabaki."),
        ("## Kichwa ##\n\nNeno **kali** na *laini* na `amri` hapa.", "Kichwa\n\nNeno kali na laini na amri hapa."),
        ("Soma [kitabu hiki](https://a.example/b_(c)) kesho asubuhi.", "Soma kitabu hiki kesho asubuhi."),
        ("* [Kitabu](https://a.example)\n* [Jarida la leo](https://b.example) - Asha\n* Andika jina", "- Andika jina"),
        ("Neno\n\n```bash\ncd nyumbani\n```\n\nNeno la pili", "Neno\n\nNeno la pili"),
        ("# Hadithi\n\nFisi na kunguru ni\nmarafiki sana.\n", "Hadithi\n\nFisi na kunguru ni marafiki sana."),
        ("Soma [kitabu hiki][1] na **jina\n\n[1]: https://a.example\n[![](x.png)](y)", "Soma kitabu hiki na jina"),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n\n**Neno**", "Neno"),
        ("'''Nairobi''' ni [[mji|jiji]] la [[Kenya]].{{ref|{{a}}}}<ref>x</ref>[1][23]", "Nairobi ni jiji la Kenya."),
        ("[[Picha:a.jpg|thumb|maelezo]]Neno[[Jamii:Miji]]\n== Historia ==\n[http://a.b jina]", "Neno\nHistoria\njina"),
        ("Historia[hariri | hariri chanzo]\nNeno la kwanza.", "Historia\nNeno la kwanza."),
        ("=== Faili\n\n(((git)))\nNeno `git` hapa.\n\n[source,sh]\n----\n$ git add\n----\n", "Faili\n\nNeno git hapa."),
    ],
)  # fmt: skip
def test_markup_is_removed_and_prose_is_kept(text: str, expected: str) -> None:
    found = normalise(plain(text))
    assert found == expected
    assert marks(found) == 0


def test_remaining_markup_is_counted() -> None:
    assert marks('<div class="a"> href="x" ](b) {{c}}') > 15
    assert marks(STORY) == 0


@pytest.mark.parametrize(
    "part",
    ["<a b='\"", "<nav>", "<!--", "[[", "{{", "{|", "[a](", "**a", "`a", "(((", "'''", "![", "==", "\n----\n", "_a"],
)
def test_damaged_markup_takes_linear_time(part: str) -> None:
    text = part * (200_000 // len(part))
    started = time.process_time()
    plain(text)
    assert time.process_time() - started < 5
