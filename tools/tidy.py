#!/usr/bin/env python3
"""The house rules a program can see, as TAP.  usage: tidy.py [ROOT]

RATCHET names what was there before its rule, each with its size now: it may
shrink, not grow, and nothing may join it.
"""
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__ + "/../..").resolve()

LINE_MAX, FUNCTION_MAX, FILE_MAX = 100, 100, 900  # columns, lines, lines
BANNED = {
    "strcpy": "memcpy, with the length known", "strncpy": "memcpy, with the length known",
    "strcat": "snprintf", "strncat": "snprintf", "sprintf": "snprintf", "vsprintf": "vsnprintf",
    "strtok": "strcspn", "gets": "fgets", "atoi": "strtol", "atol": "strtol", "atoll": "strtoll",
    "gmtime": "gmtime_r", "localtime": "localtime_r", "asctime": "strftime", "ctime": "strftime",
    "rand": "struct sp_rng", "srand": "struct sp_rng", "random": "struct sp_rng", "alloca": "a limit",
}
# A pure core takes memory, time and randomness as arguments (tools/core_is_pure.sh sees the
# archive; this names the line).
BANNED_IN_CORE = {
    name: "an argument" for name in
    ("malloc", "calloc", "realloc", "free", "strdup", "time", "clock_gettime", "printf", "fprintf",
     "snprintf", "getenv", "open", "read", "write", "strtol", "strtoul", "strtoull")
}
RATCHET = {
    "long file": {"tests/unit/disk_test.c": 1358},
    "long function": {},
}
# Built by others than meson.
BUILT_ELSEWHERE = ("tests/bench/floor.c",)  # by transfer.py
# Included in the middle of a function or file.
NO_GUARD = ("io/hash/sha1_rounds.h",)

failures, count = 0, 0


def report(name, found):
    global failures, count
    count += 1
    failures += bool(found)
    print(f"{'not ok' if found else 'ok'} {count} - {name}")
    for line in found[:40]:
        print(f"# {line}")


def tracked():
    """What git knows; of an exported tree, all there is."""
    try:
        out = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "ls-files"],
                             capture_output=True, text=True, check=True).stdout.split("\n")
        names = [n for n in out if n and (ROOT / n).is_file()]
    except (subprocess.CalledProcessError, FileNotFoundError):
        names = [p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*")
                 if p.is_file() and not re.search(r"(^|/)(\.git|build[^/]*|\.dev)/", p.as_posix())]
    return sorted(names)


def blank_comments_and_strings(source):
    """The same lines, without what is no code."""
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m.group(0)), source, flags=re.S)


def calls(code, banned):
    for number, line in enumerate(code.split("\n"), 1):
        for match in re.finditer(r"(?<![\w>.])(\w+)\(", line):
            if match[1] in banned and not line.startswith("#define"):
                yield number, match[1], banned[match[1]]


def functions(code):
    """Name and length of each function: in formatted code its body stands in column 0."""
    start, head = None, ""
    for number, line in enumerate(code.split("\n"), 1):
        if line == "{":
            start = number
        elif line == "}" and start:
            names = re.findall(r"(\w+)\(", head)
            yield (names[0] if names else "?"), number - start + 1
            start, head = None, ""
        elif not start:
            head = head + " " + line if line and not line.endswith((";", "}")) else ""


def over(kind, sizes, limit):
    """What is over its limit and over what it was allowed to keep."""
    allowed = RATCHET[kind]
    found = [f"{name}: {size} lines, at most {allowed.get(name, limit)}"
             for name, size in sizes if size > max(limit, allowed.get(name, 0))]
    sizes = dict(sizes)
    found += [f"{name} is gone or within the limit: take it off the list"
              for name in allowed if sizes.get(name, 0) <= limit]
    return found


def unlisted(names):
    """C files that no meson.build builds."""
    found = []
    for name in names:
        path = pathlib.PurePosixPath(name)
        if path.suffix != ".c" or name in BUILT_ELSEWHERE:
            continue
        stem = re.sub(r"_(test|fuzz|bench|sim)$", "", path.stem)
        for folder in path.parents:
            build = ROOT / folder / "meson.build"
            if build.is_file():
                text = build.read_text()
                relative = path.relative_to(folder).as_posix()
                if any(f"'{w}'" in text for w in (relative, path.name, path.stem, stem)):
                    break
        else:
            found.append(f"{name}: in no meson.build")
    return found


def unformatted(names):
    """What ./dev fmt would change; nothing where there is no formatter."""
    tool = shutil.which("clang-format-14")
    if not tool:
        return []
    out = subprocess.run([tool, "--dry-run", *names], cwd=ROOT, capture_output=True, text=True).stderr
    return sorted(set(re.findall(r"^([\w./-]+):\d+:\d+: warning", out, re.M)))


def main():
    names = tracked()
    c_names = [n for n in names if n.endswith((".c", ".h"))]
    text_names = [n for n in names if "/corpus/" not in n and "/golden/" not in n and
                  (n.endswith((".c", ".h", ".py", ".sh", ".md", ".build", ".txt")) or n == "dev")]
    texts = {n: (ROOT / n).read_text(errors="replace") for n in set(c_names + text_names)}
    code = {n: blank_comments_and_strings(texts[n]) for n in c_names}

    report("no banned call", [
        f"{n}:{line}: {call}: use {instead}" for n in c_names
        for line, call, instead in calls(code[n], BANNED)])
    report("the core asks nothing of the system", [
        f"{n}:{line}: {call}: use {instead}" for n in c_names if n.startswith("core/")
        for line, call, instead in calls(code[n], BANNED_IN_CORE)])
    report("formatted: ./dev fmt", unformatted(c_names))
    report(f"no C line over {LINE_MAX} columns", [
        f"{n}:{i}" for n in c_names
        for i, line in enumerate(texts[n].split("\n"), 1) if len(line) > LINE_MAX])
    report("no blank at a line's end, no tab in C", [
        f"{n}:{i}" for n in text_names for i, line in enumerate(texts[n].split("\n"), 1)
        if re.search(r"[ \t\r]$", line) or ("\t" in line and n in c_names)])
    report("every text ends with one newline", [
        n for n in text_names if texts[n] and (texts[n][-1] != "\n" or texts[n].endswith("\n\n"))])
    report("nothing left to do in comments", [
        f"{n}:{i}" for n in text_names if n != "tools/tidy.py"
        for i, line in enumerate(texts[n].split("\n"), 1)
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line) and "XXXXXX" not in line])
    report("headers have guards", [
        n for n in c_names if n.endswith(".h") and n not in NO_GUARD and
        not re.search(r"^#ifndef (\w+)\n#define \1$", texts[n], re.M)])
    report("every C file is built", unlisted(c_names))
    report(f"no file over {FILE_MAX} lines", over(
        "long file", [(n, texts[n].count("\n")) for n in c_names], FILE_MAX))
    report(f"no function over {FUNCTION_MAX} lines, tests' tables apart", over(
        "long function", [(f"{n}: {f}", size) for n in c_names if not n.startswith("tests/")
                          for f, size in functions(code[n])], FUNCTION_MAX))
    print(f"1..{count}")
    return failures != 0


sys.exit(main())
