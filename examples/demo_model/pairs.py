"""What the demo model learns from: pairs of texts whose second text answers the first.

Everything comes from Debian's mirrors: the descriptions of packages in four languages, what AppStream says about
applications, names and emoji in English and Russian (Unicode CLDR), and nouns with their meanings (WordNet).
"""

import gzip
import random
import re
import subprocess
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import yaml

MIRROR = "http://deb.debian.org/debian"
SUITES = ("bookworm", "trixie", "sid")
LANGUAGES = ("en", "ru", "de", "fr")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_LONGEST = 240  # characters of a description's beginning
_CYRILLIC = re.compile("[\u0400-\u04ff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A query and a text that answers it.

    Attributes:
        kind: Where it comes from: `en` is a package's short description with the beginning of the long one, `ru`, `de`
            and `fr` its translation with the English one, and so on.
        query: The query.
        document: The text that answers it.
        english: The English text whose meaning both have.
        is_held_out: Whether training must not see it.
    """

    kind: str
    query: str
    document: str
    english: str
    is_held_out: bool = False


def read_pairs(folder: Path) -> list[Pair]:
    """Download what is missing in a folder, and return all pairs, shuffled.

    Needs apt (Debian or Ubuntu), the package debian-archive-keyring, and no root.
    """
    _download(folder)
    sources = dict(_sources(folder))
    pairs = [
        *_descriptions(folder, sources),
        *_applications(folder, sources),
        *_names(folder / "cldr/usr/share/unicode/cldr/common"),
        *_nouns(folder / "wordnet/usr/share/wordnet"),
    ]
    pairs = [pair for pair in dict.fromkeys(pairs) if pair.query and pair.document]
    random.Random(0).shuffle(pairs)  # noqa: S311 (the order is no secret)
    return pairs


def _download(folder: Path) -> None:
    for each in ("lists/partial", "cache/archives/partial"):
        (folder / each).mkdir(parents=True, exist_ok=True)
    sources = folder / "sources.list"
    sources.write_text("".join(f"deb [signed-by={KEYRING}] {MIRROR} {suite} main\n" for suite in SUITES))
    settings = {
        "Dir::Etc::sourcelist": sources.resolve(),
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": (folder / "lists").resolve(),
        "Dir::Cache": (folder / "cache").resolve(),
        "Acquire::Languages": ",".join(LANGUAGES),
    }
    options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    if not any((folder / "lists").glob("*Translation*")):
        subprocess.run(["apt-get", *options, "update"], check=True)  # noqa: S607 (where apt is, the system says)
    for name, package in (("cldr", "unicode-cldr-core"), ("wordnet", "wordnet-base")):
        if not (folder / name).is_dir():
            subprocess.run(["apt-get", *options, "download", f"{package}/{SUITES[0]}"], cwd=folder, check=True)  # noqa: S607
            (archive,) = folder.glob(f"{package}_*.deb")
            subprocess.run(["dpkg-deb", "-x", archive, folder / name], check=True)  # noqa: S607
    for suite in ("trixie", "sid"):
        if not (folder / f"{suite}.yml.gz").is_file():
            address = f"{MIRROR}/dists/{suite}/main/dep11/Components-amd64.yml.gz"
            helper = ["/usr/lib/apt/apt-helper", "download-file", address, str(folder / f"{suite}.yml.gz")]
            subprocess.run(helper, check=True)


def _blocks(folder: Path, ending: str) -> Iterator[str]:
    for suite in SUITES:
        for path in sorted((folder / "lists").glob(f"*_dists_{suite}_main_{ending}*")):
            done = subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", path], capture_output=True, check=True)
            yield from done.stdout.decode("utf-8", "replace").split("\n\n")


def _sources(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each package, and the source package that it is built from."""
    for block in _blocks(folder, "binary-amd64_Packages"):
        if package := re.match(r"Package: (\S+)", block):
            source = re.search(r"^Source: (\S+)", block, re.MULTILINE)
            yield package[1], (source or package)[1]


def _is_held_out(source: str) -> bool:
    """Hold out a twelfth of the source packages, whose packages have similar descriptions."""
    return zlib.crc32(source.encode()) % 12 == 0


def _descriptions(folder: Path, sources: dict[str, str]) -> Iterator[Pair]:
    described: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)  # package, language: short and long
    for language in LANGUAGES:
        for block in _blocks(folder, f"i18n_Translation-{language}"):
            lines = block.split("\n")
            if len(lines) > 3:
                short = " ".join(lines[2].partition(": ")[2].split())
                described[lines[0].removeprefix("Package: ")][language] = short, _beginning(lines[3:])
    packages = sorted(described)
    random.Random(0).shuffle(packages)  # noqa: S311
    seen: set[str] = set()
    of_source: Counter[str] = Counter()
    for package in packages:
        texts, source = described[package], sources.get(package, package)
        if "en" not in texts or texts["en"][0] in seen:
            continue
        short, long = texts["en"]
        seen.add(short)
        others = [each for each in LANGUAGES[1:] if each in texts and texts[each][0] != short]
        of_source[source] += 1
        if of_source[source] > 2 and "ru" not in others:  # the packages of one source say much the same
            continue
        held_out = _is_held_out(source)
        if len(long) > 40 and (of_source[source] == 1 or "ru" in others):
            yield Pair(kind="en", query=short, document=long, english=short, is_held_out=held_out)
        elif not others:
            yield Pair(kind="short", query=short, document=short, english=short, is_held_out=held_out)
        for each in others:
            yield Pair(kind=each, query=texts[each][0], document=short, english=short, is_held_out=held_out)
            if each == "ru" and len(texts[each][1]) > 40 and len(long) > 40:
                yield Pair(kind="ru-long", query=texts[each][1], document=long, english=long, is_held_out=held_out)


def _beginning(lines: list[str]) -> str:
    """Return the first sentences of a description's first paragraph."""
    paragraph: list[str] = []
    for line in map(str.strip, lines):
        if line == "." or line[:2] in ("* ", "- "):
            if paragraph:
                break
            continue
        paragraph.append(line)
    text = " ".join(" ".join(paragraph).split())
    if len(text) <= _LONGEST:
        return text
    sentence = text.rfind(". ", 0, _LONGEST)
    return text[: sentence + 1] if sentence > 60 else text[: text.rfind(" ", 0, _LONGEST)]


def _applications(folder: Path, sources: dict[str, str]) -> Iterator[Pair]:
    found = {}
    for suite in ("trixie", "sid"):
        with gzip.open(folder / f"{suite}.yml.gz", "rt", encoding="utf-8") as file:
            documents = file.read().split("\n---\n")
        for document in documents[1:]:
            if "\n  ru: " in document or "Keywords" in document:
                about = yaml.load(document, Loader=yaml.CSafeLoader) or {}
                if "Summary" in about and "Package" in about:
                    found[about["ID"]] = about
    for about in found.values():
        summary, english = about["Summary"], about["Summary"].get("C")
        if not english:
            continue
        held_out = _is_held_out(sources.get(about["Package"], about["Package"]))
        if _CYRILLIC.search(summary.get("ru", "")):
            yield Pair(kind="ru", query=summary["ru"], document=english, english=english, is_held_out=held_out)
        keywords = about.get("Keywords") or {}
        russian = [word for word in keywords.get("ru") or () if _CYRILLIC.search(word)]
        for kind, words in (("keywords", keywords.get("C") or ()), ("ru-keywords", russian)):
            query = " ".join(words[:6])
            yield Pair(kind=kind, query=query, document=english, english=english, is_held_out=held_out)


def _names(folder: Path) -> Iterator[Pair]:
    emoji = {language: _emoji(folder, language) for language in ("en", "ru")}
    for symbol, about in emoji["en"].items():
        name, russian = about.get("name"), emoji["ru"].get(symbol, {})
        if name and "name" in russian and "skin tone" not in name:
            for query in (russian["name"], russian.get("keywords", "").replace(" |", ",")):
                yield Pair(kind="names", query=query, document=name, english=name)
    places = {language: _places(folder, language) for language in ("en", "ru")}
    for key, name in places["en"].items():
        if key in places["ru"]:
            yield Pair(kind="names", query=places["ru"][key], document=name, english=name)


def _emoji(folder: Path, language: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for each in ("annotations", "annotationsDerived"):
        for node in ElementTree.parse(folder / each / f"{language}.xml").iter("annotation"):  # noqa: S314 (Debian's own)
            key = "name" if node.get("type") == "tts" else "keywords"
            found[str(node.get("cp"))][key] = node.text or ""
    return found


def _places(folder: Path, language: str) -> dict[tuple[str, str], str]:
    """Return territories, languages, scripts, currencies and cities."""
    found: dict[tuple[str, str], str] = {}
    root = ElementTree.parse(folder / "main" / f"{language}.xml").getroot()  # noqa: S314
    for tag in ("territory", "language", "script", "currency", "exemplarCity"):
        for node in root.iter(tag):
            name = node.find("displayName") if tag == "currency" else node
            if not node.get("alt") and name is not None and name.text:
                found.setdefault((tag, str(node.get("type"))), name.text)
    return found


def _nouns(folder: Path) -> Iterator[Pair]:
    meanings = {}
    for line in (folder / "data.noun").read_text("utf-8").splitlines():
        head, _, gloss = line.partition(" | ")
        fields = head.split()
        if not line.startswith(" "):
            words = [word.replace("_", " ") for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]]
            meanings[fields[0]] = words, gloss.strip().split('; "')[0][:200]
    common: dict[str, None] = {}  # the senses that WordNet counted in texts
    for line in (folder / "index.noun").read_text("utf-8").splitlines():
        fields = line.split()
        if not line.startswith(" "):
            senses, counted = int(fields[2]), int(fields[-int(fields[2]) - 1])
            common |= dict.fromkeys(fields[-senses:][:counted])
    for sense in common:
        words, gloss = meanings[sense]
        document = f"{words[0]}: {gloss}" if zlib.crc32(sense.encode()) % 2 else gloss
        yield Pair(kind="nouns", query=", ".join(words[:3]), document=document, english=gloss)
