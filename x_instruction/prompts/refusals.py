"""How refusals and apologies of assistants begin, by language.

Only the beginning of an answer is compared: a request may well speak of apologies ("Write a letter that says sorry"),
but it does not begin with one. In languages whose verb is last, the beginning is the first 60 characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from x_instruction.languages import Language

_HELP = (
    r"(?:help|assist|provide|answer|fulfil|comply|create|generate|write|do (?:that|this|so)|process|read|translate"
    r"|access|engage|support|determine|respond|complete|produce|reconstruct|offer|discuss|identify|formulate|give you"
    r"|come up|be of|see (?:the|any)|understand (?:the|this|that)|continue|proceed|fully)"
)
# Regular expressions for the beginning. English models apologize in English whatever they are asked in, so the first
# list applies to all languages.
_ENGLISH = (
    # Not "I'm sorry to bother you, but how ...", which a person writes.
    r"(?:oh,? )?(?:i['’]?m|i am|we are|we['’]re) (?:\w+ly |so |very )?sorry\b(?! to (?:bother|ask|hear|trouble))",
    r"sorry(?:[,.!;:—–-]|,? (?:but|i|we|that i)\b)",
    r"(?:i['’]?m|i am) afraid (?:that )?(?:i|we|this|it)\b",
    r"(?:my |please accept my |our )?(?:sincere |deepest )?apologies(?:[,.!;:]| but\b)",
    r"i (?:do |must |sincerely |would like to )?apologi[sz]e\b",
    r"(?:unfortunately|regrettably)\b",
    rf"i (?:can(?:no|['’]?)t|can not|could(?: not|n['’]t)|won['’]t|will not|would not) (?:\w+ly )?{_HELP}\b",
    r"i (?:must|have to|need to|will have to|should) (?:\w+ly )?(?:decline|refuse)\b",
    rf"(?:i['’]?m|i am) (?:\w+ly )?(?:unable|not able|not allowed|not permitted|not comfortable)\b"
    rf"[^.?!]{{0,20}}?{_HELP}\b",
    r"(?:i['’]?m|i am) (?:just |only |not )?an? (?:ai|(?:large )?language model|text-based)\b",
    r"as an? (?:(?:responsible |helpful )?ai(?: (?:language )?(?:model|assistant))?|(?:large )?language model"
    r"|assistant)(?:,| i\b)",
    r"i (?:do not|don['’]t) (?:have (?:enough|sufficient|access|any|the (?:ability|context|information))"
    r"|(?:speak|understand|know) (?:the|this|that) (?:language|text|passage))\b",
    r"(?:please|could you(?: please)?|can you(?: please)?) (?:provide|share|give|send|paste|clarify)(?: me)?(?: with)?"
    r" (?:the |a |an |your |some )?(?:(?:full|actual|original|entire|correct) )?(?:text|passage|article|content"
    r"|document|more (?:context|information|details)|(?:additional|further) (?:context|information|details))\b",
    r"(?:it|there) (?:seems|appears|looks like)(?: to be| that| like| there)?\b.{0,40}\b(?:text|passage|message|content"
    r"|you|error|mistake|misunderstanding|confusion)\b",
    r"the (?:provided |given )?(?:text|passage|content)(?: (?:you )?provided)? (?:is|does|do|appears|seems|contains"
    r"|cannot|can['’]t|was)\b",
    r"(?:this|that|your|the) request (?:is|cannot|can['’]t|violates|goes)\b.{0,40}",
)
_BY_LANGUAGE = {
    "fi": (
        r"(?:anteeksi|sori)[,.!]",
        r"(?:olen |pyydän )?(?:\w+ )?(?:pahoillani|anteeksi, )",
        r"(?:valitettavasti|ikävä kyllä|pahoittelut|pahoittelen)\b",
        r"en (?:valitettavasti )?(?:voi|pysty|osaa) (?:auttaa|vastata|antaa|tarjota|kirjoittaa|tehdä|täyttää)",
        r"(?:tekoälynä|kielimallina|olen tekoäly|olen vain tekoäly)",
    ),
    "id": (
        r"(?:mohon |saya (?:minta |mohon )?)?maaf\b",
        r"(?:sayangnya|sayang sekali)\b",
        r"saya (?:tidak (?:dapat|bisa|mampu)) (?:membantu|menjawab|memberikan|memenuhi|menulis|membuat|melakukan)",
        r"sebagai (?:sebuah )?(?:ai|model bahasa|asisten)\b",
    ),
    "th": (
        r"(?:ต้อง)?(?:ขออภัย|ขอโทษ|เสียใจด้วย|น่าเสียดาย)",
        r"(?:ฉัน|ผม|ดิฉัน|เรา)?(?:รู้สึก)?(?:ขออภัย|ขอโทษ|เสียใจ)",
        r"(?:ฉัน|ผม|ดิฉัน|เรา)?ไม่(?:สามารถ|อาจ)(?:ช่วย|ตอบ|ให้|เขียน|สร้าง|ทำ)",
        r"ในฐานะ(?:ที่เป็น)?\s*(?:ai|เอไอ|ปัญญาประดิษฐ์|โมเดลภาษา|แบบจำลองภาษา|ผู้ช่วย)",
    ),
    "tr": (
        r"(?:çok )?(?:üzgünüm|özür dilerim|kusura bakma)",
        r"(?:maalesef|ne yazık ki)\b",
        r"(?:bir )?(?:yapay zek[aâ]|dil modeli)\w* (?:olarak|olduğum)",
        r".{0,50}\b(?:yardımcı olam\w+|yardım edem\w+|yanıt verem\w+|cevap verem\w+|yerine getirem\w+)",
    ),
    "vi": (
        r"(?:tôi )?(?:thành thật |rất |thật )?(?:xin lỗi|lấy làm tiếc|rất tiếc|tiếc)",
        r"(?:đáng tiếc|thật không may|rất tiếc)",
        r"tôi không thể (?:giúp|trả lời|cung cấp|thực hiện|viết|tạo|đáp ứng|hỗ trợ)",
        r"(?:là|với tư cách là) một (?:ai|mô hình|trợ lý|trí tuệ)",
    ),
    "bn": (
        r"(?:আমি )?(?:অত্যন্ত |খুবই |আন্তরিকভাবে )?(?:দুঃখিত|ক্ষমাপ্রার্থী)",
        r"(?:ক্ষমা কর|মাফ কর|দুর্ভাগ্যবশত|দুর্ভাগ্যক্রমে)",
        r"(?:একটি|একজন) (?:এআই|ভাষা মডেল|কৃত্রিম)",
        r"আমি .{0,40}(?:সাহায্য|উত্তর|সহায়তা) .{0,20}(?:পারছি না|পারব না|পারবো না|পারি না)",
    ),
    "hi": (
        r"(?:मुझे |हमें )?(?:क्षमा|माफ़|माफ|माफ़|खेद|अफ़सोस|अफसोस)(?:\s|$|ी)",
        r"(?:मैं )?(?:क्षमा|माफ़ी|माफी|माफ़ी)",
        r"(?:दुर्भाग्य से|दुर्भाग्यवश)",
        r"(?:एक )?(?:एआई|ai|भाषा मॉडल)\b.{0,20}(?:के रूप में|के नाते|होने)",
        r"मैं .{0,40}(?:मदद|सहायता|उत्तर|जवाब|पूरा) .{0,10}नहीं",
    ),
    "sw": (
        r"(?:samahani|pole(?=[,.!]| sana)|naomba radhi|niwie radhi|nasikitika|ninasikitika|kwa bahati mbaya)\b",
        r"(?:siwezi|sitaweza) (?:kukusaidia|kusaidia|kujibu|kutoa|kuandika|kufanya|kutimiza)",
        r"kama (?:ai|akili|modeli|mfumo wa lugha)\b",
        r"mimi ni (?:ai|akili bandia|modeli)\b",
    ),
    "ta": (
        r"(?:என்னை )?(?:மன்னிக்க|மன்னியு|வருந்து|வருத்த)",
        r"(?:துரதிர்ஷ்டவசமாக|துரதிருஷ்டவசமாக)",
        r"ஒரு (?:ai|செயற்கை நுண்ணறிவு|மொழி மாதிரி)",
        r"என்னால் .{0,50}(?:முடியாது|இயலாது|முடியவில்லை|இயலவில்லை)",
    ),
    "ur": (
        r"(?:میں )?(?:معذرت|معافی|معاف کی)",
        r"(?:مجھے )?(?:افسوس|بدقسمتی)",
        r"(?:بطور|ایک) (?:اے آئی|ai|زبان)",
        r"میں .{0,40}(?:مدد|جواب) نہیں",
    ),
    "es": (
        r"(?:lo siento|lamento|lo lamento|disculpa|disculpe|perdón|mis disculpas)\b",
        r"(?:lamentablemente|desafortunadamente|desgraciadamente)\b",
        r"no (?:puedo|me es posible) (?:ayudar|responder|proporcionar|cumplir|crear|escribir|asistir)",
        r"como (?:modelo de lenguaje|una? (?:ia|inteligencia artificial|asistente))",
    ),
    "pt": (
        r"(?:desculpe|desculpa|sinto muito|lamento|peço desculpas?)\b",
        r"infelizmente\b",
        r"não (?:posso|consigo) (?:ajudar|responder|fornecer|atender|criar|escrever)",
        r"como (?:um )?(?:modelo de linguagem|uma ia|assistente)",
    ),
    "fr": (
        r"(?:je suis |nous sommes )?(?:vraiment |sincèrement )?(?:désolée?s?|navrée?s?)\b",
        r"(?:malheureusement|je regrette|je m['’]excuse|je vous prie de m['’]excuser|toutes mes excuses)\b",
        r"je ne (?:peux|suis pas en mesure|saurais)(?: pas)? .{0,15}(?:aider|répondre|fournir|créer|écrire|satisfaire)",
        r"en tant qu(?:e modèle|['’](?:ia|intelligence|assistant))",
    ),
    "de": (
        r"(?:es )?tut mir (?:sehr )?leid\b(?!, dass ich dich)",
        r"(?:entschuldigung|entschuldige|entschuldigen sie|leider|bedauerlicherweise|ich bedaure|verzeihung)\b",
        r"ich kann .{0,40}nicht (?:helfen|beantworten|erfüllen|bereitstellen|erstellen|schreiben|weiterhelfen)",
        r"als (?:ki|künstliche|sprachmodell)\b",
    ),
    "it": (
        r"(?:mi dispiace|mi spiace|spiacente|sono spiacente|scusa|mi scuso|purtroppo|sfortunatamente)\b",
        r"non posso (?:aiutar|rispondere|fornire|soddisfare|creare|scrivere)",
        r"in quanto (?:ia|modello|assistente|intelligenza)",
    ),
    "nl": (
        r"(?:het spijt me|sorry|excuses|helaas|mijn excuses)\b",
        r"ik kan .{0,30}niet (?:helpen|beantwoorden|geven|voldoen)",
        r"als (?:ai|taalmodel)",
    ),
    "ru": (
        r"(?:извините|простите|прошу прощения|приношу извинения|мне (?:очень )?жаль|к сожалению|сожалею)\b",
        r"я не (?:могу|в состоянии|умею) .{0,15}(?:помочь|ответить|предоставить|выполнить|создать|написать)",
        r"(?:как|я) (?:языковая модель|искусственный интеллект|ии)\b",
    ),
    "zh": (
        r"(?:很|非常|十分|實在|实在)?(?:抱歉|遗憾|遺憾)|对不起|對不起|不好意思",
        r"(?:我)?(?:无法|無法|不能|没办法|沒辦法)(?:为您|為您|为你|帮助|幫助|协助|協助|回答|提供|满足|滿足|完成)",
        r"(?:作为|作為)(?:一个|一個|一名)?\s*(?:ai|人工智能|人工智慧|语言模型|語言模型|助手)",
    ),
    "ja": (
        r"(?:大変)?(?:申し訳|すみません|すいません|ごめん|恐れ入りますが|残念ながら|残念です)",
        r"(?:私は)?aiとして",
    ),
    "ko": (
        r"(?:정말 |대단히 )?(?:죄송|미안|유감|안타깝게도|아쉽게도)",
        r"(?:저는 )?(?:ai|인공지능|언어 모델)(?:로서|이기)",
    ),
    "ar": (
        r"(?:أنا )?(?:عذر|آسف|أعتذر|نأسف|معذرة|للأسف|يؤسفني|مع الأسف|المعذرة)",
        r"(?:أنا )?لا (?:أستطيع|يمكنني) (?:مساعد|المساعدة|الإجابة|تقديم|تلبية|كتابة)",
        r"(?:بصفتي|كوني|كنموذج|باعتباري)",
    ),
    "fa": (
        r"(?:متأسف|متاسف|ببخشید|پوزش|عذرخواهی|معذرت|با عرض پوزش|بدبختانه)",
        r"(?:من )?نمی‌?توانم .{0,30}(?:کمک|پاسخ)",
        r"به عنوان یک (?:هوش|مدل|دستیار)",
    ),
}
# Languages whose apologies are written alike.
_ALIKE = {"ms": "id", "yue": "zh", "prs": "fa"}


def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.I)


_ANY = _compiled(_ENGLISH)
_OF = {tag: _compiled(patterns) for tag, patterns in _BY_LANGUAGE.items()}
KNOWN = frozenset(_OF)


def refuses(text: str, languages: Iterable[Language]) -> bool:
    """Whether a text begins as refusals and apologies of assistants do, in English or in one of these languages.

    Args:
        text: an answer, or what was read from it; without markup at its start.
        languages: of the instruction and of the passage. Those that are not in the list add nothing.
    """
    if _ANY.match(text):
        return True
    tags = (language.tag.split("-")[0] for language in languages)
    lists = (_OF.get(_ALIKE.get(tag, tag)) for tag in tags)
    return any(own is not None and own.match(text) for own in lists)
