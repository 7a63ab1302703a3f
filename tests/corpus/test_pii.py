from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from x_instruction.corpus.pii import mask_personal_data


@pytest.mark.parametrize(
    "text",
    [
        # years, dates, times
        "Mwaka 1939-1945 na 2019–2020, 1999 2000 2001 2002.",
        "12.05.2020, 05.12.2020, 2020-05-12, 01/02/2020, 2021.10.12 10, १२.०५.२०२०",
        "10:30-11:45, 12:30:45, kl. 08.30-16.00",
        # prices and numbers
        "1 200 000 euroa, 1,200,000.50, Rp 10.000.000.000, 2 300 000 - 4 500 000, 100 000 000 000",
        "0.123456789 3.14159265358979 ৳১,২০,০০০ ١٢٣٤",
        # sections and versions
        "§ 1.2.3, 1.2.3.4, Section 10.20.30.40, versio 10.0.19.41, v10.0.20.11, 10.0.19041.1, Python 3.11.0",
        # books, networks at home, programs
        "ISBN 978-0-306-40615-7, 0-306-40615-2",
        "192.168.1.1 127.0.0.1 10.0.0.138 fe80::1 ::1 std::vector a::b 12:34:56",
        "user@localhost @nimi näin@näin",
        # check digits that do not hold
        "GB82 WEST 1234 5698 7654 33, FI2112345600000786, ZZ68 1234 5600 0007 85",
        "999.300.1.1",
    ],
)
def test_text_that_only_resembles_personal_data_is_kept(text: str) -> None:
    assert mask_personal_data(text) == (text, {})


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Andika a.b-c+d@example.co.tz.", "Andika <EMAIL>."),
        ("почта@пример.рф ja x@y.fi", "<EMAIL> ja <EMAIL>"),
        ("puh. +358 40 123 4567.", "puh. <PHONE>."),
        ("(0212) 555 12 34 / 0212 555 12 34", "<PHONE> / <PHONE>"),
        ("+91 98765 43210, 98765 43210", "<PHONE>, <PHONE>"),
        ("00 44 20 7946 0958", "<PHONE>"),
        ("0812-3456-7890, 081-234-5678, 0300-1234567", "<PHONE>, <PHONE>, <PHONE>"),
        ("+1 (212) 555-0123 or 1-800-555-0123", "<PHONE> or <PHONE>"),
        ("+৮৮০ ১৭১২-৩৪৫৬৭৮", "<PHONE>"),
        ("०११ २३४५ ६७८९", "<PHONE>"),
        ("٠٣٠٠-١٢٣٤٥٦٧", "<PHONE>"),
        ("๐๘๑-๒๓๔-๕๖๗๘", "<PHONE>"),
        ("93.184.216.34:80", "<IP>:80"),
        ("2001:4860:4860::8888", "<IP>"),
        ("FI21 1234 5600 0007 85 OK", "<IBAN> OK"),
        ("DE89370400440532013000,", "<IBAN>,"),
        ("GB82 WEST 1234 5698 7654 32", "<IBAN>"),
    ],
)
def test_personal_data_is_masked(text: str, masked: str) -> None:
    found, counts = mask_personal_data(text)
    assert found == masked
    assert sum(counts.values()) == masked.count("<")


def test_masked_data_is_counted_by_kind() -> None:
    assert mask_personal_data("a@b.co c@d.org +358 40 123 4567")[1] == {"email": 2, "phone": 1}


@given(st.one_of(st.text(), st.text(alphabet="+00123456789 .-()/:@abFI৮१\n", max_size=60)))
def test_masking_twice_changes_nothing(text: str) -> None:
    once, _ = mask_personal_data(text)
    assert mask_personal_data(once) == (once, {})


@pytest.mark.parametrize("unit", ["a", "1", "1 ", "1.", "a.", "0-", "A1", "AB12 ", "1:", "a@", "@a.", "(1) "])
def test_long_input_takes_linear_time(unit: str) -> None:
    text = unit * (400_000 // len(unit)) + "@x.fi"
    started = time.process_time()
    mask_personal_data(text)
    assert time.process_time() - started < 10
