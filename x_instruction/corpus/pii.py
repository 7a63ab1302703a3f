"""Masking of personal data in running text, recognised by its shape and check digits.

Masked are e-mail addresses, phone numbers (also in native digits), public IP addresses and IBANs. Years, dates, times,
prices, section numbers, version numbers, private and documentation addresses look similar and are kept.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections import Counter
from collections.abc import Callable

# Every repetition is bounded and every pattern starts at a boundary, so any text takes linear time.
_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{2,4}){3,8}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_PHONE = re.compile(r"(?<![\w.,:/+<-])(?:\+ ?)?\(?\d(?:[ .()/-]{0,2}\d){6,17}(?![\w]|[.,:/-]\d)")

# Words before a dotted number that is not an IP address.
_VERSION = re.compile(
    r"(?:\bv|version|versio|versi|sürüm|phiên bản|release|toleo|संस्करण|সংস্করণ|பதிப்பு|ورژن|รุ่น|§|section)[ .:]{0,3}$",
    re.IGNORECASE,
)
_DATE = re.compile(r"(?<!\d)(?:\d{1,2}([./-])\d{1,2}\1\d{2,4}|\d{4}([./-])\d{1,2}\2\d{1,2})(?!\d)")
# National phone numbers: a trunk 0 with 9 to 13 digits (Indonesia has the longest), North American, Indian mobile.
_NATIONAL = (
    re.compile(r"\(?0(?: ?\(?)[1-9][\d ().-]*"),
    re.compile(r"(?:1[ -])?(?:\(\d{3}\) ?|\d{3}[ -])\d{3}[ -]\d{4}"),
    re.compile(r"[6-9]\d{4}[ -]\d{5}"),
)

# Length of an IBAN by country (SWIFT IBAN registry, release 99).
_IBAN_LENGTHS = {
    entry[:2]: int(entry[2:])
    for entry in re.findall(
        r"\w+",
        """
        AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28
        EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26
        IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28
        NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25
        SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
        """,
    )
}
# Each of these matches a part of what a pattern above matches, and is searched faster.
_NUMBERS = re.compile(r"\d(?:[ .()/-]{0,2}\d){2}")
_PART_OF_IPV6 = re.compile(r":[0-9A-Fa-f]{0,4}:")
_PART_OF_IPV4 = re.compile(r"\d\.\d{1,3}\.\d")
_PART_OF_IBAN = re.compile(r"[A-Z][A-Z]\d\d")
_PART_OF_PHONE = re.compile(r"\d(?:[ .()/-]{0,2}\d){6}")


def mask_personal_data(text: str) -> tuple[str, dict[str, int]]:
    """Mask personal data, and count it by kind. Idempotent.

    Args:
        text: normalised text.

    Returns:
        The text with ``<EMAIL>``, ``<IP>``, ``<IBAN>`` and ``<PHONE>``, and the counts by those names in lower case.
    """
    counts: Counter[str] = Counter()
    while True:
        masked = _mask(text, counts)
        if masked == text:
            return text, dict(counts)
        # A mask creates a new word boundary, which may expose another match. Repeat until nothing changes.
        text = masked


def _mask(text: str, counts: Counter[str]) -> str:
    if "@" in text:
        text = _replace(_EMAIL, text, "email", counts, lambda match: True)
    if ":" in text and _PART_OF_IPV6.search(text):
        text = _replace(_IPV6, text, "ip", counts, _is_ipv6)
    if not _NUMBERS.search(text):
        return text
    if _PART_OF_IPV4.search(text):
        text = _replace(_IPV4, text, "ip", counts, _is_ipv4)
    if _PART_OF_IBAN.search(text):
        text = _IBAN.sub(lambda match: _iban(match[0], counts), text)
    if _PART_OF_PHONE.search(text):
        text = _replace(_PHONE, text, "phone", counts, _is_phone)
    return text


def _replace(
    pattern: re.Pattern[str], text: str, name: str, counts: Counter[str], is_personal: Callable[[re.Match[str]], bool]
) -> str:
    def mask(match: re.Match[str]) -> str:
        if not is_personal(match):
            return match[0]
        counts[name] += 1
        return f"<{name.upper()}>"

    return pattern.sub(mask, text)


def _is_ipv4(match: re.Match[str]) -> bool:
    parts = [int(part) for part in match[0].split(".")]
    # Four small numbers are a section or version number far more often than an address.
    if max(parts) > 255 or max(parts) < 10:
        return False
    if _VERSION.search(match.string[max(0, match.start() - 20) : match.start()]):
        return False
    return ipaddress.IPv4Address(".".join(map(str, parts))).is_global


def _is_ipv6(match: re.Match[str]) -> bool:
    try:
        address = ipaddress.IPv6Address(match[0])
    except ValueError:
        return False
    # "a::b" is usually a name in a program and not an address.
    return sum(c != ":" for c in match[0]) >= 8 and address.is_global


def _iban(matched: str, counts: Counter[str]) -> str:
    """A match with its IBAN masked. The pattern may include capitalised words that follow; these are kept."""
    ends = [end for end, character in enumerate(matched, start=1) if character != " "]
    length = _IBAN_LENGTHS.get(matched[:2], len(matched) + 1)
    if len(ends) < length:
        return matched
    end = ends[length - 1]
    code, rest = matched[:end].replace(" ", ""), matched[end:]
    if rest[:1].isalnum() or not code.isascii():
        return matched
    # Check digits of ISO 7064 mod 97-10: the first four characters move to the end, letters count as 10 to 35.
    if int("".join(str(int(c, 36)) for c in code[4:] + code[:4])) % 97 != 1:
        return matched
    counts["iban"] += 1
    return f"<IBAN>{rest}"


def _is_phone(match: re.Match[str]) -> bool:
    shape = "".join(str(unicodedata.decimal(c, c)) for c in match[0])
    digits = sum(c.isdecimal() for c in shape)
    if _DATE.search(shape):
        return False
    if shape.startswith("+"):
        return 8 <= digits <= 15
    if shape.startswith("00") and shape[2:3] not in ("0", ""):
        return 10 <= digits <= 17
    if _NATIONAL[0].fullmatch(shape):
        return 9 <= digits <= 13 and shape[1] not in ".-"
    return any(pattern.fullmatch(shape) for pattern in _NATIONAL[1:])
