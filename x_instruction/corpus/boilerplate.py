"""Phrases of web page boilerplate, by language: menus, cookie notices, "read more".

Phrases are lower case. A short line that contains one counts as boilerplate. The English phrases apply to every
language, because this part of a page is often left untranslated. To add a language, add one entry.
"""

from __future__ import annotations

# A line longer than this is prose that mentions cookies, not a notice about them.
LONGEST_LINE = 160

# Separators of menus and breadcrumbs, and how many of one make a line a menu.
MENU_SIGNS = ("|", "»", "›", "·", "•", "→", " > ", " / ")
MENU_ENTRIES = 3

PHRASES: dict[str, tuple[str, ...]] = {
    "en": (
        "accept cookies", "cookie policy", "uses cookies", "use cookies", "cookie settings", "privacy policy",
        "terms of use", "terms of service", "terms and conditions", "all rights reserved", "copyright ©", "© 20",
        "read more", "click here", "continue reading", "learn more »", "share on", "share this", "tweet this",
        "follow us", "subscribe to our", "sign up for", "log in", "sign in", "forgot password", "leave a comment",
        "leave a reply", "post a comment", "your email address will not be published", "related articles",
        "related posts", "next post", "previous post", "powered by", "skip to content", "back to top",
        "enable javascript", "add to cart", "lorem ipsum", "advertisement", "view all", "load more",
    ),
    "bn": (
        "আরও পড়ুন", "আরো পড়ুন", "এখানে ক্লিক করুন", "সর্বস্বত্ব সংরক্ষিত", "কপিরাইট ©", "শেয়ার করুন", "মন্তব্য করুন",
        "গোপনীয়তা নীতি", "কুকি ব্যবহার", "সাবস্ক্রাইব করুন", "লগ ইন", "সাইন ইন", "বিজ্ঞাপন দিন", "ফলো করুন",
    ),
    "fi": (
        "käyttää evästeitä", "käytämme evästeitä", "hyväksy evästeet", "evästeasetukset", "tietosuojaseloste",
        "tietosuojakäytäntö", "käyttöehdot", "kaikki oikeudet pidätetään", "lue lisää", "lue myös", "jaa facebook",
        "klikkaa tästä", "kirjaudu sisään", "tilaa uutiskirje", "seuraa meitä", "jätä kommentti", "siirry sisältöön",
        "lisää ostoskoriin", "takaisin ylös",
    ),
    "hi": (
        "और पढ़ें", "यह भी पढ़ें", "ये भी पढ़ें", "यहां क्लिक करें", "यहाँ क्लिक करें", "सर्वाधिकार सुरक्षित", "कॉपीराइट ©", "शेयर करें",
        "गोपनीयता नीति", "कुकीज़ का उपयोग", "कुकी का उपयोग", "सब्सक्राइब करें", "लॉग इन करें", "साइन इन करें",
        "टिप्पणी करें", "हमें फॉलो करें", "नियम और शर्तें", "विज्ञापन",
    ),
    "id": (
        "baca juga", "baca selengkapnya", "selengkapnya »", "klik di sini", "hak cipta dilindungi", "hak cipta ©",
        "bagikan ke", "bagikan ini", "kebijakan privasi", "menggunakan cookie", "syarat dan ketentuan", "berlangganan",
        "ikuti kami", "tinggalkan komentar", "tinggalkan balasan", "masuk / daftar", "lewati ke konten",
        "alamat email anda tidak akan dipublikasikan", "artikel terkait",
    ),
    "sw": (
        "soma zaidi", "soma pia", "bofya hapa", "haki zote zimehifadhiwa", "shiriki kwenye", "sera ya faragha",
        "inatumia vidakuzi", "tunatumia vidakuzi", "vigezo na masharti", "jiandikishe", "tufuate", "acha maoni",
        "habari zinazohusiana", "ingia hapa",
    ),
    "ta": (
        "மேலும் படிக்க", "மேலும் வாசிக்க", "இங்கே கிளிக் செய்", "இங்கு கிளிக் செய்", "அனைத்து உரிமைகளும்", "பதிப்புரிமை ©",
        "பகிர்ந்து கொள்ள",
        "தனியுரிமைக் கொள்கை", "குக்கீகளை", "உள்நுழைய", "கருத்துரையிடுக", "கருத்து தெரிவிக்க", "எங்களைப் பின்தொடர",
    ),
    "th": (
        "อ่านเพิ่มเติม", "อ่านต่อ", "คลิกที่นี่", "สงวนลิขสิทธิ์", "แชร์ไปยัง", "แชร์หน้านี้", "นโยบายความเป็นส่วนตัว", "ใช้คุกกี้",
        "ยอมรับคุกกี้", "ข้อกำหนดและเงื่อนไข", "สมัครสมาชิก", "เข้าสู่ระบบ", "แสดงความคิดเห็น", "ติดตามเรา", "ข่าวที่เกี่ยวข้อง",
    ),
    "tr": (
        "devamını oku", "daha fazla oku", "buraya tıklayın", "tüm hakları saklıdır", "telif hakkı ©", "paylaş:",
        "facebook'ta paylaş", "gizlilik politikası", "çerez politikası", "çerezleri kullan", "çerez kullan",
        "kullanım koşulları", "abone ol", "giriş yap", "üye ol", "yorum yap", "bizi takip edin", "ilgili haberler",
        "içeriğe geç",
    ),
    "ur": (
        "مزید پڑھیں", "یہ بھی پڑھیں", "یہاں کلک کریں", "جملہ حقوق محفوظ", "تمام حقوق محفوظ", "شیئر کریں",
        "رازداری کی پالیسی",
        "کوکیز کا استعمال", "سبسکرائب کریں", "لاگ ان", "تبصرہ کریں", "ہمیں فالو کریں", "شرائط و ضوابط",
    ),
    "vi": (
        "đọc thêm", "xem thêm", "nhấn vào đây", "bấm vào đây", "click vào đây", "bản quyền ©", "giữ bản quyền",
        "chia sẻ lên", "chia sẻ bài viết", "chính sách bảo mật", "chính sách cookie", "sử dụng cookie",
        "điều khoản sử dụng", "đăng ký nhận tin", "đăng nhập", "theo dõi chúng tôi", "để lại bình luận",
        "bài viết liên quan", "tin liên quan",
    ),
}  # fmt: skip


def phrases(tag: str) -> tuple[str, ...]:
    """The phrases of a language and the English ones."""
    return tuple(dict.fromkeys((*PHRASES["en"], *PHRASES.get(tag.split("-")[0], ()))))


def is_menu(line: str) -> bool:
    """True if a line is a menu: short entries between separators of one kind."""
    return len(line) <= LONGEST_LINE and any(line.count(sign) >= MENU_ENTRIES for sign in MENU_SIGNS)
