"""The parts that need no server: names, rules, merges, front matter, quotas, Xet's formats, objects on the disk."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import time
from pathlib import Path

import lz4.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from x_instruction.errors import RecipeError
from x_instruction.local_hub import attributes, cards, merging, names, xet
from x_instruction.local_hub.accounts import Accounts
from x_instruction.local_hub.folder import Folder
from x_instruction.local_hub.lfs import LargeFiles, Pointer, Receiving, read_pointer
from x_instruction.local_hub.limits import Quota
from x_instruction.local_hub.objects import FILE, Entry
from x_instruction.local_hub.refused import Refused
from x_instruction.local_hub.rendering import render
from x_instruction.local_hub.repository import Repository
from x_instruction.local_hub.signing import Signer
from x_instruction.storage.atomic import TempDir


@pytest.mark.parametrize(
    "path",
    [
        "", "/etc/passwd", "../a", "a/../../b", "a/./b", "a//b", "a\\..\\b", "a\0b", "a\nb", "a/.git/config", ".GIT/x",
        ".git", "a/.g\u200cit/x", "git~1/x", ".git./x", ".git::$INDEX_ALLOCATION", ".gitmodules", "x" * 300,
        "a/" * 600 + "b", "\ud800", None, 3,
    ],
)  # fmt: skip
def test_paths_that_leave_the_repository_are_refused(path: object) -> None:
    with pytest.raises(Refused):
        names.file_path(path)


@pytest.mark.parametrize(
    "path", ["a", ".gitattributes", "a/b c/ش.txt", ".github/x", "…", "a..b", "git/x", ".gitignore"]
)
def test_plain_paths_are_accepted(path: str) -> None:
    assert names.file_path(path) == path


@pytest.mark.parametrize("name", ["", ".a", "a.", "-a", "a--b", "a..b", "a.git", "a/b", "ä", "a b", "x" * 97, "a\n"])
def test_invalid_names_are_refused(name: str) -> None:
    assert not names.is_name(name)
    with pytest.raises(Refused):
        names.repo_id("dataset", "org", name)


@pytest.mark.parametrize("name", ["api", "datasets", "Spaces"])
def test_routes_of_the_server_cannot_be_namespaces(name: str) -> None:
    with pytest.raises(Refused):
        names.repo_id("model", name, "x")


@pytest.mark.parametrize(
    "name",
    ["", "..", "a..b", "/a", "a/", "a//b", ".a", "a/.b", "a.lock", "a b", "a~1", "a^", "a:b", "a\\b", "a\0", "@",
     "a@{b", "HEAD", "refs/heads/x", "f" * 40, "-x", "a.", None],
)  # fmt: skip
def test_invalid_branches_are_refused(name: object) -> None:
    with pytest.raises(Refused):
        names.ref_part(name)


def test_large_files_are_recognised_by_name() -> None:
    rules = attributes.Attributes(attributes.initial() + "data/** filter=lfs\n/docs/*.txt filter=lfs\n*.txt -filter\n")
    assert rules.large("x/train.parquet")
    assert rules.large("data/a/b.csv")
    assert not rules.large("README.md")
    assert not rules.large("docs/a.txt")
    more = attributes.Attributes(rules.with_paths(["big file.jsonl", "x.parquet"]))
    assert more.large("big file.jsonl")
    assert not more.large("sub/big file.jsonl")
    assert rules.with_paths(["x.parquet"]) == rules.with_paths([])


@pytest.mark.parametrize(
    ("path", "out"),
    [("a.log", True), ("x/a.log", True), ("keep.log", False), ("build/x", True), ("src/build/x", True),
     ("build", False), ("top/x", True), ("sub/top/x", False), ("a.txt", False)],
)  # fmt: skip
def test_ignored_files_are_matched(path: str, out: bool) -> None:
    assert (path in attributes.Ignored("# a comment\n*.log\n!keep.log\nbuild/\n/top\n")) is out


def test_git_agrees_about_ignored_files(tmp_path: Path) -> None:
    rules = "*.log\n!keep.log\nbuild/\n/top\ndocs/*.txt\n**/deep/x\nq?.md\nall/**\nm/**/n\n[ab]*[!c].z\n"
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text(rules)
    paths = ["a.log", "keep.log", "x/keep.log", "build/a", "s/build/a", "top", "s/top", "docs/a.txt", "docs/s/a.txt"]
    paths += ["deep/x", "s/deep/x", "q1.md", "q12.md", "s/q1.md", "all", "all/a", "all/a/b", "m/n", "m/a/n", "m/a/b/n"]
    paths += ["ab.z", "bc.z", "c.z", "s/aaa.z", "n", "m"]
    for path in paths:
        ignored = subprocess.run(["git", "-C", tmp_path, "check-ignore", "-q", path], check=False).returncode == 0
        assert (path in attributes.Ignored(rules)) is ignored, path


@pytest.mark.parametrize(
    "rule",
    ["*a" * 14 + "b", "**/" * 30 + "x", "**a" * 20 + "/" + "*a" * 20, "[" * 60 + "*" * 60, "*[[:space:]]" * 14 + "b"],
)
def test_hostile_patterns_take_linear_time(rule: str) -> None:
    """With backtracking they took minutes."""
    for path in ("a" * 200, "a/" * 100 + "y", " " * 60):
        assert path not in attributes.Ignored(rule)
        assert not attributes.Attributes(f"{rule} filter=lfs").large(path)


entries = st.dictionaries(st.sampled_from("abcd"), st.sampled_from([Entry(FILE, c * 40) for c in "123"]))


@given(entries, entries, entries)
def test_merging_keeps_the_changes_of_both_sides(base: dict, ours: dict, theirs: dict) -> None:  # type: ignore[type-arg]
    merged = merging.three_way(base, ours, theirs)
    for path in "abcd":
        was, here, there = base.get(path), ours.get(path), theirs.get(path)
        if path in merged.conflicts:
            assert was != here != there != was
        else:
            assert merged.files.get(path) == (here if there == was else there)
    assert merging.three_way(base, theirs, ours).conflicts == merged.conflicts


@pytest.mark.parametrize(
    ("front", "says"),
    [
        ("language: [no]", '"language[0]" must be a string, not False'),
        ("language: [en\n", "cannot be read"),
        ("- a\n- b", "expected keys and values"),
        ("language: {a: b}", '"language" must be a string or a list'),
        ("tags: text", '"tags" must be a list'),
        ("configs: [{data_files: x}]", '"configs[0].config_name" must be a string'),
        ("configs: [{config_name: no}]", "not False"),
        ("configs: [{config_name: a}, {config_name: a}]", "'a' twice"),
        ("configs: [{config_name: a, data_files: [{split: train}]}]", "data_files"),
        ("dataset_info: 3", "dataset_info"),
        ("a: &a {b: 1}\nc: {<<: [*a, *a]}", "merge keys"),
        ("a: " + "[" * 5_000, "cannot be read"),
        ("a: " + "[" * 90_000 + "]" * 90_000, "too deep"),
        ("- " * 90_000, "too deep"),
        ("a: [" + "1," * 99_000 + "]", "too many values"),
        ("a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{f'*{chr(97 + n)},' * 10}]\n"
                                                   for n in range(7)), "too many values"),
    ],
)  # fmt: skip
def test_invalid_front_matter_is_reported(front: str, says: str) -> None:
    errors, _ = cards.check(f"---\n{front}\n---\ntext")
    assert any(says in error for error in errors), errors


@pytest.mark.parametrize(
    "front",
    [
        "a: 1" + ":1" * 90_000,
        "a: [" + "1," * 49_000 + "]",
        "a: &a x\nb: [" + "*a," * 49_000 + "]",
        "\n".join(f"k{number}: v" for number in range(15_000)),
        "a: [" + "2024-01-02," * 18_000 + "]",
    ],
)
def test_large_front_matter_is_checked_quickly(front: str) -> None:
    began = time.process_time()
    assert cards.check(f"---\nlicense: mit\n{front}\n---\n") == ([], [])
    assert time.process_time() - began < 2
    assert cards.metadata("---\na: 1:30\nb: 1_000\nc: 0.5\n---\n") == {"a": "1:30", "b": 1000, "c": 0.5}


def test_a_missing_licence_is_only_a_warning() -> None:
    assert cards.check("---\nlanguage: ['no']\n---\n") == ([], ['no "license": say what others may do with this'])
    assert cards.check("# No front matter") == ([], ["empty or missing yaml metadata in repo card"])
    assert cards.check("---\nlicense: mit\n---\n") == ([], [])
    assert "was not checked" in cards.check("---\nlicense: mit\na: " + "[" * 300_000 + "\n---\n")[1][0]
    assert cards.metadata("---\nwhen: 2024-01-02\nhow: .nan\n---\n") == {"when": "2024-01-02", "how": "nan"}


def test_quotas_are_per_account_and_reset() -> None:
    seconds = [0.0]
    quota = Quota("api", 2, 300, lambda: seconds[0])
    assert quota.take("a")["RateLimit"] == '"api";r=1;t=300'
    quota.take("a")
    with pytest.raises(Refused) as refused:
        quota.take("a")
    assert refused.value.status == 429
    assert refused.value.headers["Retry-After"] == "300"
    quota.take("b")
    seconds[0] = 300
    quota.take("a")


def test_signatures_are_valid_for_one_purpose_and_a_limited_time() -> None:
    signer = Signer()
    good = signer.sign("put", "x", seconds=10)
    signer.check(good, "put", "x")
    for bad, what in ((good, ("get", "x")), (good[:-1], ("put", "x")), ("", ("put", "x")), ("9.ü", ("put", "x"))):
        with pytest.raises(Refused):
            signer.check(bad, *what)
    with pytest.raises(Refused):
        signer.check(signer.sign("put", "x", seconds=-1), "put", "x")
    with pytest.raises(Refused):
        Signer().check(good, "put", "x")


def test_pointers_are_parsed() -> None:
    pointer = Pointer("a" * 64, 12)
    assert read_pointer(pointer.text()) == pointer
    assert read_pointer(pointer.text() + b"more\n") is None


def test_tokens_are_kept_as_hashes(tmp_path: Path) -> None:
    scratch = TempDir(tmp_path / "tmp")
    accounts = Accounts(tmp_path / "local-hub.json", scratch)
    token = accounts.add("ci", "write")
    text = (tmp_path / "local-hub.json").read_text()
    assert token not in text
    assert hashlib.sha256(token.encode()).hexdigest() in text
    assert (tmp_path / "local-hub.json").stat().st_mode & 0o077 == 0
    found = Accounts(tmp_path / "local-hub.json", scratch).by_header(f"Bearer {token}")
    assert found
    assert found.name == "ci"
    for header in (f"Bearer {token}x", "Bearer ", f"Token {token}", "Basic !", "Basic dTpw"):
        with pytest.raises(Refused):
            accounts.by_header(header)
    with pytest.raises(RecipeError, match="not NAME="):
        accounts.add("a b", "write")


def test_only_one_server_can_use_a_folder(tmp_path: Path) -> None:
    served = Folder(tmp_path)
    with pytest.raises(RecipeError, match="served already"):
        Folder(tmp_path)
    assert served.root == tmp_path


def test_symbolic_links_are_not_repositories(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "served")
    repo = names.repo_id("dataset", "org", "real")
    folder.create(repo, "ci", False, None)
    (folder.path(repo).parent / "linked.git").symlink_to(folder.path(repo))
    assert not folder.exists(names.repo_id("dataset", "org", "linked"))
    assert list(folder.list("dataset")) == [repo]
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    repository = folder.repository(repo)
    oid = "ab" * 20
    repository.objects.path(oid).parent.mkdir(exist_ok=True)
    repository.objects.path(oid).symlink_to(secret)
    with pytest.raises(OSError, match="symbolic links"):
        repository.objects.read(oid)


def test_git_accepts_the_written_objects(tmp_path: Path) -> None:
    (tmp_path / "r.git").mkdir()
    scratch = TempDir(tmp_path / "tmp")
    Repository.begin(tmp_path / "r.git", scratch, "ci")
    repository = Repository(tmp_path / "r.git", scratch)

    def change(files: dict[str, Entry]) -> list[str]:
        # Git sorts folders as if their names ended with a slash: these tell.
        for path in ("a", "a.b", "a-/x", "b/c", "b.c", "b/d/ش", "b0"):
            files[path] = Entry(FILE, repository.objects.write("blob", path.encode()))
        return []

    oid = repository.commit("refs/heads/main", "ci", "a title\0\x01\n\nbody", change)
    git = ["git", "-C", str(tmp_path / "r.git")]
    assert not subprocess.run([*git, "fsck", "--strict", "--full"], check=True, capture_output=True, text=True).stdout
    shown = subprocess.run([*git, "show", f"{oid}:b/d/ش"], check=True, capture_output=True, text=True).stdout
    assert shown == "b/d/ش"
    with pytest.raises(Refused, match="is a file"):
        repository.commit("refs/heads/main", "ci", "x", lambda files: files.update({"a/x": files["a"]}) or [])


def _chunk(data: bytes, scheme: int) -> bytes:
    plain = b"".join(data[lane::4] for lane in range(4)) if scheme == 2 else data
    packed = lz4.frame.compress(plain) if scheme else plain
    head = b"\0" + len(packed).to_bytes(3, "little") + bytes([scheme]) + len(data).to_bytes(3, "little")
    return head + packed


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=200), st.integers(0, 2)), min_size=1, max_size=5))
def test_chunks_round_trip(parts: list[tuple[bytes, int]]) -> None:
    xorb = b"".join(_chunk(data, scheme) for data, scheme in parts) + b"XETBLOB footer"
    chunks = xet.chunks_of(xorb)
    found = [xet.unpack(xorb[c.at : c.at + c.packed], c.scheme, c.size) for c in chunks]
    assert found == [data for data, _ in parts]


def _shard(sha: bytes, terms: list[tuple[bytes, int, int, int]], flags: int = 1 << 30) -> bytes:
    records = [b"h" * 48, b"f" * 32 + struct.pack("<IIQ", flags, len(terms), 0)]
    records += [name + struct.pack("<4I", 0, size, start, end) for name, size, start, end in terms]
    return b"".join([*records, sha + b"\0" * 16, b"\xff" * 32 + b"\0" * 16])


def _words(hexed: str) -> bytes:
    return struct.pack("<4Q", *(int(hexed[n : n + 16], 16) for n in range(0, 64, 16)))


def test_a_file_is_assembled_only_if_its_digest_is_right(tmp_path: Path) -> None:
    scratch, large = TempDir(tmp_path / "tmp"), LargeFiles(tmp_path / "lfs", TempDir(tmp_path / "tmp2"))
    xorbs, name = xet.Xorbs(tmp_path / "xorbs"), "0f" * 32
    with scratch.file() as stream:
        stream.write(_chunk(b"hello ", 0) + _chunk(b"world", 1))
        xorbs.put(name, stream)
    sha = hashlib.sha256(b"hello world").hexdigest()
    good = list(xet.files_of(_shard(_words(sha), [(_words(name), 11, 0, 2)])))
    for bad in (
        _shard(_words("0" * 64), [(_words(name), 11, 0, 2)]),
        _shard(_words(sha), [(_words(name), 11, 0, 3)]),
        _shard(_words(sha), [(_words("ab" * 32), 11, 0, 2)]),
        _shard(_words(sha), [(_words(name), 10, 0, 2)]),
    ):
        with pytest.raises(Refused):
            xorbs.rebuild(list(xet.files_of(bad)), large, 1000)
    with pytest.raises(Refused, match="at most 5"):
        xorbs.rebuild(good, large, 5)
    assert large.size(sha) is None
    assert not list((tmp_path / "tmp2").iterdir())
    xorbs.rebuild(good, large, 1000)
    assert large.path(sha).read_bytes() == b"hello world"


def test_a_file_larger_than_its_declared_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small shard names the chunks of a file many times over, and gives a size that is allowed."""
    large, xorbs, name = LargeFiles(tmp_path / "lfs", TempDir(tmp_path / "tmp")), xet.Xorbs(tmp_path / "x"), "0f" * 32
    with TempDir(tmp_path / "tmp2").file() as stream:
        stream.write(_chunk(b"\0" * (1 << 20), 1))
        xorbs.put(name, stream)
    written = []
    monkeypatch.setattr(Receiving, "write", lambda self, data: written.append(len(data)))
    shard = _shard(_words("0" * 64), [(_words(name), 1, 0, 1)] * 4)
    with pytest.raises(Refused, match=r"says 1 bytes.* 1048576"):
        xorbs.rebuild(list(xet.files_of(shard)), large, 1000)
    assert written == []


def test_a_xorb_with_too_many_chunks_is_refused() -> None:
    with pytest.raises(Refused, match="chunks"):
        xet.chunks_of(_chunk(b"", 0) * 1_000_000)


@pytest.mark.parametrize("data", [b"", b"\1", b"\0" * 7, b"\0\xff\0\0\0\1\0\0x", b"h" * 96, b"h" * 48 + b"f" * 40])
def test_damaged_xorbs_and_shards_are_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        xet.chunks_of(data)
    with pytest.raises(Refused):
        list(xet.files_of(data))


def test_a_chunk_that_decompresses_to_more_than_declared_is_refused() -> None:
    with pytest.raises(Refused):
        xet.unpack(lz4.frame.compress(b"\0" * 10_000_000), 1, 100)


def test_cards_cannot_run_scripts() -> None:
    text = "<script>alert(1)</script>\n\n[x](javascript:alert(1)) [y](data/a.txt) [z](https://a.b)\n\n<img src=x id=a>"
    html = render(text, "/datasets/o/d/resolve/main")
    assert "<script" not in html
    assert "<img" not in html
    assert 'href="javascript' not in html
    assert 'href="/datasets/o/d/resolve/main/data/a.txt"' in html
    assert 'href="https://a.b"' in html
