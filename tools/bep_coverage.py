#!/usr/bin/env python3
"""Makes docs/bep-coverage.md from the citations in the sources.

  /* BEP-0003: "the sentence that is obeyed" */
  /* BEP-0003, not followed: the reason */
  /* Custom: seen in <client>: what is done that no BEP says */

usage: bep_coverage.py [--check]     --check: says whether the page is up to date (TAP)
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/bep-coverage.md"
FOLDERS = ("include", "core", "sim", "io", "apps")
TEXT_MAX = 200

TITLES = {
    3: "The BitTorrent protocol", 4: "Number allocations", 5: "DHT", 6: "Fast extension", 7: "IPv6 tracker extension",
    9: "Metadata from peers", 10: "Extension protocol", 11: "Peer exchange", 12: "Multitracker metadata",
    14: "Local service discovery", 15: "UDP tracker protocol", 16: "Super-seeding",
    17: "HTTP seeding (Hoffman)", 19: "HTTP/FTP seeding (GetRight)", 20: "Peer id conventions",
    21: "Partial seeds", 23: "Compact peer lists", 24: "External IP from trackers",
    27: "Private torrents", 29: "uTP", 30: "Merkle hash torrents", 31: "Tracker failure retry",
    32: "DHT: IPv6", 33: "DHT: scrapes", 34: "DNS tracker preferences", 35: "Torrent signing",
    36: "Torrent RSS", 38: "Local data from other torrents", 39: "Torrents updated by URL",
    40: "Canonical peer priority", 41: "UDP tracker options", 42: "DHT: security",
    43: "DHT: read-only nodes", 44: "DHT: arbitrary data", 45: "DHT: several addresses",
    46: "DHT: mutable torrents", 47: "Padding files and attributes", 48: "Scrapes",
    49: "Distributed torrent feeds", 50: "Publish/subscribe", 51: "DHT: infohash indexing",
    52: "BitTorrent v2", 53: "Magnet: select files", 54: "The lt_donthave extension",
    55: "Holepunch",
}

CITATION = re.compile(
    r"\bBEP-(?P<bep>\d{4})(?P<no>, not followed)?(?P<said>:)?|\b(?P<custom>Custom: )")


def comments(source):
    """The comments of a C source, each as one line of text."""
    for match in re.finditer(r"/\*(.*?)\*/", source, re.S):
        text = re.sub(r"\n\s*\*?", " ", match.group(1))
        yield re.sub(r"\s+", " ", text).strip()


def clip(text, whole):
    """Of what is obeyed the quoted sentence, or the first one; of a departure also why."""
    text = text.strip().rstrip(",;(").strip()
    quoted = re.match(r'".*?"(?=[.,;:)]*(?:$|\s))', text)
    sentence = re.match(r'.*?[^.\d]\.(?= [A-Z"]|$)', text)
    if not whole and text.startswith('"') and quoted:
        text = quoted.group(0)
    elif not whole and sentence:
        text = sentence.group(0)
    return text if len(text) <= TEXT_MAX else text[:TEXT_MAX].rsplit(" ", 1)[0] + " ..."


def collect():
    beps, customs = {}, []
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.[ch]")):
            name = path.relative_to(ROOT).as_posix()
            for comment in comments(path.read_text()):
                hits = list(CITATION.finditer(comment))
                for hit, after in zip(hits, hits[1:] + [None]):
                    text = clip(comment[hit.end():after.start() if after else len(comment)],
                            whole=hit["no"])
                    if hit["custom"]:
                        customs.append((name, text))
                        continue
                    entry = beps.setdefault(int(hit["bep"]), {"yes": [], "no": [], "in": set()})
                    entry["in"].add(name)
                    if hit["said"] and text:
                        entry["no" if hit["no"] else "yes"].append((name, text))
    return beps, customs


def rows(entries):
    return [f"- {text} (`{name}`)" for name, text in sorted(set(entries))]


def page():
    beps, customs = collect()
    out = ["# Protocol coverage", "",
           "Made by `tools/bep_coverage.py` from the citations in the sources; not edited by hand.", "",
           "| BEP | | obeyed | not followed | files |", "|---|---|---|---|---|"]
    for bep, entry in sorted(beps.items()):
        out.append(f"| {bep} | {TITLES.get(bep, '')} | {len(set(entry['yes']))} | "
                   f"{len(set(entry['no']))} | {len(entry['in'])} |")
    for bep, entry in sorted(beps.items()):
        out += ["", f"## BEP {bep}: {TITLES.get(bep, '')}".rstrip(": ")]
        if entry["yes"]:
            out += ["", "Obeyed:", ""] + rows(entry["yes"])
        if entry["no"]:
            out += ["", "Not followed:", ""] + rows(entry["no"])
        cited = {name for name, _ in entry["yes"] + entry["no"]}
        if entry["in"] - cited:
            out += ["", "Also in: " + ", ".join(f"`{n}`" for n in sorted(entry["in"] - cited)) + "."]
    out += ["", "## Custom: what clients do that no BEP says", ""] + rows(customs)
    return "\n".join(out) + "\n"


def main():
    text = page()
    if "--check" not in sys.argv:
        PAGE.write_text(text)
        return 0
    good = PAGE.exists() and PAGE.read_text() == text
    print(("ok" if good else "not ok") + " 1 - docs/bep-coverage.md is up to date")
    if not good:
        print("# run tools/bep_coverage.py")
    print("1..1")
    return not good


sys.exit(main())
