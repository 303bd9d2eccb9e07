#!/usr/bin/env python3
"""The program as a user meets it: exit codes, messages, streams, terminals and
signals.  usage: program_test.py SPATE   (built over fake_client.c)

TAP on standard output."""
import json, os, pty, re, resource, select, shutil, signal, struct, subprocess, sys, tempfile, termios, time
import fcntl

SPATE = os.path.abspath(sys.argv[1])
HERE = os.path.dirname(os.path.abspath(__file__))
TMP = tempfile.mkdtemp(prefix="program-test-")
os.chdir(TMP)
ENV = {"PATH": os.environ["PATH"], "HOME": TMP, "LC_ALL": "C.UTF-8", "TERM": "xterm", "TMPDIR": TMP,
       "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "")}
tests = []


def test(fn):
    tests.append(fn)
    return fn


def env(**more):
    return {**ENV, **{k.upper(): v for k, v in more.items()}}


def run(*args, fake="", stdin=b"", timeout=30, **more):
    r = subprocess.run([SPATE, *args], input=stdin, capture_output=True, timeout=timeout,
                       env=env(spate_fake=fake, **more))
    r.out, r.err = r.stdout.decode("utf-8", "replace"), r.stderr.decode("utf-8", "replace")
    return r


def expect(r, code, err=None, out=None):
    assert r.returncode == code, f"exit {r.returncode}, not {code}: {r.out}{r.err}"
    if err is not None:
        assert r.err.rstrip("\n") == err, f"stderr {r.err!r}, not {err!r}"
    if out is not None:
        assert r.out == out, f"stdout {r.out!r}, not {out!r}"


def one_line(text):
    assert text.count("\n") == 1 and text.endswith("\n"), repr(text)


def bencode(x):
    if isinstance(x, int):
        return b"i%de" % x
    if isinstance(x, (bytes, str)):
        x = x.encode() if isinstance(x, str) else x
        return b"%d:%s" % (len(x), x)
    if isinstance(x, list):
        return b"l" + b"".join(map(bencode, x)) + b"e"
    return b"d" + b"".join(bencode(k) + bencode(x[k]) for k in sorted(x)) + b"e"


def info(**changes):
    d = {"name": "data", "piece length": 16384, "pieces": b"\1" * 40, "length": 30000}
    d.update(changes)
    return {k: v for k, v in d.items() if v is not None}


def write(name, data):
    with open(name, "wb") as f:
        f.write(data)
    return name


def torrent(name="t.torrent", **changes):
    return write(name, bencode({"announce": "http://t.example/announce", "info": info(**changes)}))


# --- usage ---------------------------------------------------------------------

@test
def usage_errors_are_one_line_and_exit_2():
    torrent()
    cases = [
        (["gte"], "spate: 'gte': no such command; did you mean get?"),
        (["frob"], "spate: 'frob': no such command (see spate --help)"),
        (["get"], "spate get: SRC... is missing (see spate get --help)"),
        (["get", "t.torrent", "--down", "10X"],
         "spate get: --down: '10X' is not a rate (try 512K or 10M)"),
        (["get", "t.torrent", "--donw=1"], "spate get: --donw: no such option; did you mean --down?"),
        (["get", "t.torrent", "--select", "2"], "spate get: --select: '2': t.torrent has 1 file"),
        (["get", "t.torrent", "t.torrent"], "spate get: t.torrent: is the same torrent as t.torrent"),
        (["verify", "t.torrent", "--dir", "nowhere"],
         "spate verify: --dir: 'nowhere': No such file or directory"),
        (["verify", "t.torrent", "--dir", "t.torrent"],
         "spate verify: --dir: 't.torrent': is not a directory"),
        (["create", ".", "--v2"],
         "spate create: --v2: not available yet: only version 1 torrents can be made"),
        (["create", ".", "--piece-length", "24K"],
         "spate create: --piece-length: '24K' is not a power of two (try 1M)"),
        (["bench", "tape"], "spate bench: 'tape': no such benchmark: hash, disk or transfer"),
        (["help", "gett"], "spate: 'gett': no such command; did you mean get?"),
    ]
    for args, message in cases:
        expect(run(*args), 2, message, "")
    bad = run("get", "a\x1b[2Jb\n", "--dwn")
    assert "\x1b" not in bad.err


@test
def help_and_version():
    expect(run("--version"), 0, "")
    assert re.fullmatch(r"spate \d+\.\d+\.\d+\n", run("--version").out)
    expect(run("version", "--help"), 0, "")
    assert run("--help").out == run("help").out
    assert run("help", "get").out == run("get", "--help").out
    assert run("get", "--help", "--nonsense").returncode == 0
    assert run().returncode == 2 and "Commands:" in run().err
    # what is not there is not told
    assert not re.search(r"--(no-dht|hybrid|v2)", run("get", "--help").out +
                         run("create", "--help").out)


@test
def help_is_as_recorded():
    for name in ["get", "create"]:
        with open(f"{HERE}/golden/help-{name}.txt") as f:
            assert run(name, "--help").out == f.read(), f"golden/help-{name}.txt differs"


# --- input ----------------------------------------------------------------------

@test
def bad_torrents_exit_3_with_one_line():
    good = bencode({"info": info()})
    cases = {
        "empty": b"",
        "text": b"hello\n",
        "html": b"<!DOCTYPE html><html></html>",
        "truncated": good[:-7],
        "trailing": good + b"x",
        "deep": b"l" * 100000 + b"e" * 100000,
        "no-info": bencode({"announce": "http://a.example/"}),
        "info-is-int": bencode({"info": 3}),
        "no-name": bencode({"info": info(name=None)}),
        "negative-length": bencode({"info": info(length=-1)}),
        "zero-piece-length": bencode({"info": info(**{"piece length": 0})}),
        "pieces-odd": bencode({"info": info(pieces=b"x" * 41)}),
        "pieces-few": bencode({"info": info(pieces=b"x" * 20)}),
        "overflow": good.replace(b"i30000e", b"i99999999999999999999e"),
        "declared-length": b"d4:info999999999999:",
        "leading-zero": good.replace(b"i30000e", b"i030000e"),
    }
    for name, data in cases.items():
        path = write(f"bad-{name}.torrent", data)
        for command in ["show", "get", "seed", "verify", "magnet"]:
            r = run(command, path, "--quiet")
            assert r.returncode == 3, f"{command} {name}: exit {r.returncode}: {r.err}"
            one_line(r.err)
            assert r.err.startswith(f"spate {command}: {path}: "), r.err
            assert r.out == ""
        r = run("show", "-", stdin=data)
        assert r.returncode == 3 and r.err.startswith("spate show: -: "), r.err
    assert re.search(r": byte \d+: ", run("show", "bad-negative-length.torrent").err)


@test
def other_inputs():
    expect(run("show", "none.torrent"), 1, "spate show: none.torrent: No such file or directory", "")
    expect(run("show", "."), 1, "spate show: .: Is a directory", "")
    r = run("show", "/dev/zero")
    expect(r, 3)
    one_line(r.err)
    expect(run("show", "magnet:?dn=x"), 3)
    magnet = "magnet:?xt=urn:btih:" + "ab" * 20
    expect(run("show", magnet), 0, "")
    r = run("get", "magnet:?xt=urn:btmh:1220" + "ab" * 32)
    expect(r, 3)
    assert "version 2" in r.err
    expect(run("get", "magnet:?xt=urn:btih:zz"), 3)
    expect(run("get", "http://x.example/t.torrent"), 1,
           "spate get: http://x.example/t.torrent: HTTP 404", "")
    write("page.html", b"<html>")
    expect(run("get", "http://x.example/t.torrent", fake="fetch=page.html"), 3)
    path = torrent()
    expect(run("get", "http://x.example/t.torrent", "--dir", "out", "--no-state",
               fake=f"fetch={path},at_once=1"), 0, "")
    expect(run("show", "--json", "-", stdin=open(path, "rb").read()), 0, "")


# --- show -------------------------------------------------------------------------

RICH = {"announce": "http://a.example/announce",
        "announce-list": [["http://a.example/announce", "udp://b.example:6969"], ["http://c.example/"]],
        "url-list": ["http://w.example/data/"], "nodes": [["router.example", 6881], ["2001:db8::1", 7]],
        "comment": "A comment\x1b[31m", "created by": "Maker 1", "creation date": 1700000000,
        "info": {"name": "d\u00e4ta", "piece length": 16384, "pieces": b"\1" * 40, "private": 1,
                 "source": "SRC",
                 "files": [{"length": 16384, "path": ["a", "one.txt"]},
                           {"length": 9, "path": ["con", "x\x1b[2J.sh"], "attr": "x"},
                           {"length": 7, "path": [".pad", "7"], "attr": "p"},
                           {"length": 0, "path": ["link"], "attr": "l",
                            "symlink path": ["a", "one.txt"]}]}}


@test
def show_json_is_as_recorded():
    write("rich.torrent", bencode(RICH))
    r = run("show", "--json", "rich.torrent")
    expect(r, 0, "")
    one_line(r.out)
    with open(f"{HERE}/golden/show.json") as f:
        want = json.load(f)
    got = json.loads(r.out)
    assert got == want, json.dumps(got, indent=1)
    assert list(got) == list(want) and list(got["files"][0]) == list(want["files"][0])


@test
def show_is_as_recorded():
    write("rich.torrent", bencode(RICH))
    r = run("show", "rich.torrent")
    expect(r, 0, "")
    assert "\x1b" not in r.out
    with open(f"{HERE}/golden/show.txt") as f:
        assert r.out == f.read(), r.out


@test
def show_to_a_reader_that_left_or_a_full_disk():
    path = torrent()
    r = subprocess.run(["sh", "-c", f"{SPATE} show {path} | head -n 0; {SPATE} show {path} >&-; "
                        f"echo $?; {SPATE} show {path} >/dev/full; echo $?"],
                       capture_output=True, env=env(), timeout=20)
    lines = r.stderr.decode().splitlines()
    assert r.stdout == b"1\n1\n", r.stdout
    assert [l.split(": ")[:2] for l in lines] == [["spate show", "standard output"]] * 2, lines
    read, write_end = os.pipe()
    os.close(read)
    r = subprocess.run([SPATE, "show", path], stdout=write_end, stderr=subprocess.PIPE, env=env())
    os.close(write_end)
    assert r.returncode == 0 and r.stderr == b""


# --- create and verify ------------------------------------------------------------

@test
def create_writes_whole_or_nothing():
    os.makedirs("made/sub", exist_ok=True)
    write("made/data.bin", b"x" * 100000)
    r = run("create", "made/data.bin", "-o", "made/o.torrent", "--tracker", "http://t.example/a")
    expect(r, 0, "")
    assert "Info-hash" in r.out and "magnet:?xt=urn:btih:" in r.out
    before = open("made/o.torrent", "rb").read()
    expect(run("create", "made/data.bin", "-o", "made/o.torrent"), 1,
           "spate create: made/o.torrent: exists already (--force replaces it)", "")
    expect(run("create", "made/data.bin", "-fo", "made/o.torrent", "--no-date", "-q"), 0, "", "")
    assert open("made/o.torrent", "rb").read() != before
    expect(run("create", "made/data.bin", "-o", "made/n.torrent", fake="create=enoent"), 1,
           "spate create: gone.txt: no such file", "")
    expect(run("create", "made/none", "-o", "made/n.torrent"), 1,
           "spate create: made/none: No such file or directory", "")
    expect(run("create", "made/data.bin", "-o", "made/none/n.torrent"), 1,
           "spate create: made/none/n.torrent: No such file or directory", "")
    r = subprocess.run([SPATE, "create", "made/data.bin", "-o", "made/n.torrent"],
                       capture_output=True, env=env(), timeout=20,
                       preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)))
    assert r.returncode == 1 and r.stderr == b"spate create: made/n.torrent: File too large\n", r
    p = subprocess.Popen([SPATE, "create", "made/data.bin", "-o", "made/n.torrent"],
                         stderr=subprocess.PIPE, env=env(spate_fake="work_ms=5000"))
    time.sleep(0.7)
    p.send_signal(signal.SIGINT)
    assert p.wait(10) == 130
    assert b"nothing was written" in p.communicate()[1]
    assert sorted(os.listdir("made")) == ["data.bin", "o.torrent", "sub"], os.listdir("made")


@test
def create_is_reproducible_and_streams():
    write("r.bin", b"y" * 50000)
    a = run("create", "r.bin", "-o", "-", "--no-date")
    b = run("create", "r.bin", "-o", "-", "--no-date")
    expect(a, 0)
    assert a.stdout == b.stdout and a.stdout.startswith(b"d") and "Info-hash" in a.err
    c = run("create", "r.bin", "-o", "-", source_date_epoch="1234567")
    assert b"13:creation datei1234567e" in c.stdout
    expect(run("create", "r.bin", "-o", "-", source_date_epoch="x"), 2)
    expect(run("create", "r.bin", "--json"), 0, "")
    assert os.path.exists("r.bin.torrent")


@test
def verify_says_what_is_bad():
    torrent(pieces=b"\1" * 200, length=160000)
    expect(run("verify", "t.torrent"), 0, "")
    r = run("verify", "t.torrent", fake="bad=3-5")
    expect(r, 4, "")
    assert "Bad pieces: 3-5\n" in r.out and "does not match" in r.out, r.out
    r = run("verify", "--json", "t.torrent", fake="bad=3-5,missing=1")
    expect(r, 4, "")
    got = json.loads(r.out)
    assert got["ok"] is False and got["bad_pieces"] == [[3, 5]] and got["pieces_ok"] == 7
    assert got["bad_files"] == [{"index": 1, "path": "data", "state": "missing"}]
    expect(run("verify", "-q", "t.torrent", fake="bad=3-5"), 4, "", "")


# --- get and seed --------------------------------------------------------------------

def get(*args, fake="ms=300,check_ms=20", **more):
    torrent(pieces=b"\1" * 200, length=160000)
    return run("get", "t.torrent", "--dir", "out", "--no-state", *args, fake=fake, **more)


@test
def get_ends_when_complete():
    r = get()
    expect(r, 0, "")
    assert "data: complete, 156 KiB downloaded in 0." in r.out and "Wasted" in r.out and "\x1b" not in r.out
    r = get(fake="have=100,check_ms=20")
    expect(r, 0, "", "data: already complete (156 KiB)\n")
    expect(get("--quiet"), 0, "", "")
    expect(get("--no-dht", "--no-pex", "--no-lsd", "--no-utp", "--no-portmap", "--encrypt=off"), 0)
    for policy in ("allow", "prefer", "require"):
        expect(get("--encrypt", policy), 0)
    expect(get(fake="new=enet"), 1, "spate get: cannot listen on 0.0.0.0:6881: address in use", "")


@test
def get_events_for_programs():
    r = get("--json", fake="ms=2500,check_ms=20,error_at=30,error_ms=300,ban_at=10,tracker_fail=1")
    expect(r, 0)
    assert "waiting until there is room" in r.err
    one_line(r.err)
    events = [json.loads(l) for l in r.out.splitlines()]
    names = [e["event"] for e in events]
    order = [n for n in names if n not in ("progress", "listening", "tracker")]
    assert order == ["added", "checked", "banned", "error", "recovered", "complete", "stopped",
                     "summary"], order
    assert "progress" in names and "tracker" in names
    for e in events:
        if e["event"] in ("listening", "stopped"):
            continue
        assert e["torrent"] == 0 and e["name"] == "data" and len(e["info_hash"]) == 40
        for key in ("have", "wanted", "down", "up", "peers"):
            assert isinstance(e[key], int), e
    end = events[-1]
    assert end["complete"] and end["have"] == end["wanted"] == 160000, end


@test
def errors_of_the_disk_are_waited_for():
    r = get(fake="ms=400,check_ms=20,error_at=50,error_ms=400")
    expect(r, 0)
    assert "no space left on device; waiting until there is room" in r.err
    one_line(r.err)
    assert "data: goes on" in r.out
    for error in "eio", "eacces":
        r = get("--quiet", fake="ms=400,check_ms=20,error_at=50,error_ms=400,error=" + error)
        expect(r, 0, "spate get: data: write film.mkv: input/output error; waiting until the disk does it (Ctrl-C stops)", "")


@test
def seeding_ends_by_time_and_ratio():
    began = time.time()
    r = get("--seed-time", "1")
    expect(r, 0, "")
    assert 1 < time.time() - began < 10
    expect(get("--seed-ratio", "0.5"), 0, "")
    torrent(pieces=b"\1" * 200, length=160000)
    r = run("seed", "t.torrent", "--seed-time=0.5s", "--no-state", fake="check_ms=20")
    expect(r, 0, "")
    assert "listening on 127.0.0.1:6881" in r.out and "data: seeding 156 KiB" in r.out
    r = run("seed", "t.torrent", "--no-state", fake="check_ms=20,have=0")
    expect(r, 4, "spate seed: data: not found: nothing of its data is there")
    r = run("seed", "t.torrent", "--no-state", "--seed-time=1", fake="check_ms=20,have=40")
    expect(r, 0, "")
    assert "data: 40.0% of the data is there; serving that part" in r.out
    code, out = on_terminal(["seed", "t.torrent", "--no-state", "--seed-time=1"],
                            "check_ms=20,have=40")
    assert code == 0 and "seeding a part" in out and "\u2193" not in out, out[-1000:]
    assert re.search(r"data +3\.12 MiB +40\.\d% +1\.\ds +\d+ KiB ", out), out[-1000:]


@test
def state_directory():
    torrent()
    expect(run("get", "t.torrent", "--dir", "out", fake="at_once=1,check_ms=1"), 0)
    assert os.path.isdir(f"{TMP}/.local/state/spate")
    expect(run("get", "t.torrent", "--dir", "out", fake="at_once=1,check_ms=1",
               xdg_state_home=f"{TMP}/xdg"), 0)
    assert os.path.isdir(f"{TMP}/xdg/spate")
    expect(run("get", "t.torrent", "--dir", "out", "--state", "t.torrent/x"), 1,
           "spate get: state directory 't.torrent/x': Not a directory", "")


# --- signals ---------------------------------------------------------------------------

def start(*args, fake, **more):
    torrent(pieces=b"\1" * 200, length=160000)
    return subprocess.Popen([SPATE, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=env(spate_fake=fake), **more)


@test
def ctrl_c_once_stops_cleanly():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        p = start("get", "t.torrent", "--dir", "out", "--no-state", fake="ms=60000,check_ms=20")
        time.sleep(0.8)
        p.send_signal(number)
        out, err = p.communicate(timeout=10)
        assert p.returncode == 130, p.returncode
        assert b"stopping: telling trackers, saving state (again to quit at once)" in out
        assert b"interrupted: the same command goes on where this one was" in out and err == b""


@test
def ctrl_c_twice_quits_at_once():
    p = start("get", "t.torrent", "--dir", "out", "--no-state", fake="ms=60000,check_ms=20,hang=1")
    time.sleep(0.8)
    p.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert p.poll() is None
    began = time.time()
    p.send_signal(signal.SIGINT)
    assert p.wait(5) == 130 and time.time() - began < 1
    p.communicate()


@test
def ctrl_c_while_fetching():
    p = start("get", "http://x.example/t.torrent", fake="fetch=hang")
    time.sleep(0.5)
    p.send_signal(signal.SIGINT)
    assert p.wait(5) == 130
    p.communicate()


# --- streams ------------------------------------------------------------------------------

@test
def a_reader_that_left_does_not_end_a_transfer():
    for args in ([], ["--json"]):
        p = start("get", "t.torrent", "--dir", "out", "--no-state", *args,
                  fake="ms=1500,check_ms=20,ban_at=50")
        p.stdout.close()
        err = p.stderr.read()
        assert p.wait(10) == 0 and err == b"", (p.returncode, err)


@test
def a_reader_that_hangs_does_not_hold_a_transfer_up():
    read, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETFL, os.O_NONBLOCK)
    try:
        while True:
            os.write(write_end, b"x" * 4096)
    except BlockingIOError:
        pass
    fcntl.fcntl(write_end, fcntl.F_SETFL, 0)
    torrent(pieces=b"\1" * 200, length=160000)
    began = time.time()
    p = subprocess.Popen([SPATE, "get", "t.torrent", "--dir", "out", "--no-state", "--json"],
                         stdout=write_end, env=env(spate_fake="ms=500,check_ms=20"))
    assert p.wait(15) == 0 and time.time() - began < 10
    os.close(read)
    os.close(write_end)


# --- terminals -----------------------------------------------------------------------------

def on_terminal(args, fake, cols=80, rows=24, keys=(), **more):
    """What the program writes to a terminal; keys are (seconds, bytes)."""
    torrent(pieces=b"\1" * 4000, length=200 * 16384)
    pid, fd = pty.fork()
    if pid == 0:
        try:
            time.sleep(0.1)
            os.execve(SPATE, [SPATE, *args], env(spate_fake=fake, **more))
        finally:
            os._exit(127)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
    began, out, keys = time.time(), b"", list(keys)
    while time.time() - began < 20:
        if keys and time.time() - began > keys[0][0]:
            os.write(fd, keys.pop(0)[1])
        if select.select([fd], [], [], 0.1)[0]:
            try:
                data = os.read(fd, 65536)
            except OSError:
                break
            if not data:
                break
            out += data
    status = os.waitpid(pid, 0)[1]
    os.close(fd)
    return os.waitstatus_to_exitcode(status), out.decode("utf-8", "replace")


GET = ["get", "t.torrent", "--dir", "out", "--no-state"]


def widest(out):
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out)
    return max(len(l) for l in re.split(r"[\r\n]+", plain) if not re.match("stopping|data: ", l))


@test
def progress_is_drawn_in_place_and_fits():
    for cols in (40, 80, 200):
        code, out = on_terminal(GET, "ms=900,check_ms=200", cols=cols)
        assert code == 0, out
        assert out.count("\x1b[J") < 25, "drawn too often"
        assert "\x1b[36m" in out and "\u2588" in out and re.search(r"\x1b\[\dA", out)
        assert widest(out) <= cols - 1, (cols, widest(out), out[-1000:])


@test
def no_color_dumb_and_ascii():
    code, out = on_terminal(GET, "ms=600,check_ms=20", no_color="1")
    assert code == 0 and not re.search(r"\x1b\[[0-9;]*m", out) and "\x1b[K" in out
    code, out = on_terminal(GET, "ms=600,check_ms=20", term="dumb")
    assert code == 0 and "\x1b" not in out and "complete" in out
    code, out = on_terminal(GET, "ms=600,check_ms=20", lc_all="C")
    assert code == 0 and all(ord(c) < 128 for c in out), [c for c in out if ord(c) > 127]


@test
def names_cannot_write_to_the_terminal():
    code, out = on_terminal(GET, "ms=900,check_ms=20,ban_at=20")
    assert code == 0 and "banned 10.0.0.66:6881 \ufffd[31msent" in out, out


@test
def ctrl_c_on_a_terminal():
    code, out = on_terminal(GET, "ms=60000,check_ms=20", keys=[(1.2, b"\x03")])
    assert code == 130 and "stopping: telling trackers" in out, out
    code, out = on_terminal(GET, "ms=60000,check_ms=20,hang=1", keys=[(1.2, b"\x03"), (2, b"\x03")])
    assert code == 130


# --- demo and bench ---------------------------------------------------------------------------

@test
def demo_verifies_and_cleans_up():
    os.makedirs("demo")
    r = run("demo", "--size", "4M", tmpdir=f"{TMP}/demo")
    expect(r, 0, "")
    assert "5. Verified: all 5 files are the same, byte by byte" in r.out and "Try next" in r.out
    assert os.listdir("demo") == []
    p = start("demo", "--size", "4M", fake="ms=60000", cwd=f"{TMP}/demo")
    time.sleep(2)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=20)
    assert p.returncode == 130 and b"cleaned up" in out
    assert not [f for f in os.listdir(TMP) if re.match(r"spate-......$", f)], os.listdir(TMP)
    r = run("demo", "--size", "1M", fake="corrupt=1", tmpdir=f"{TMP}/demo")
    expect(r, 4)
    assert "differs from the original" in r.err and os.listdir("demo") == []
    r = run("demo", "--size", "1M", "--json")
    expect(r, 0, "")
    assert json.loads(r.out.splitlines()[-1]) == {"event": "demo", "verified": True}


@test
def bench_prints_figures():
    r = run("bench", "--size", "1M", "--json")
    expect(r, 0, "")
    lines = [json.loads(l) for l in r.out.splitlines()]
    assert [l["bench"] for l in lines] == ["hash", "disk", "transfer"], r.out
    assert all(l["bytes"] > 1 << 20 and l["rate"] > 0 for l in lines)
    expect(run("bench", "hash", "--size=1M"), 0, "")
    expect(run("bench", "disk", "--size=1M"), 0, "")


def main():
    failed = 0
    only = sys.argv[2:]
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup as well
    chosen = [t for t in tests if not only or t.__name__ in only]
    for i, fn in enumerate(chosen, 1):
        try:
            fn()
            print(f"ok {i} - {fn.__name__}", flush=True)
        except Exception as e:  # an assertion, a timeout, a missing file
            failed += 1
            line = e.__traceback__.tb_next.tb_lineno if e.__traceback__.tb_next else 0
            print(f"not ok {i} - {fn.__name__}")
            for l in f"line {line}: {type(e).__name__}: {e}".splitlines():
                print(f"# {l}", flush=True)
    print(f"1..{len(chosen)}")
    os.chdir("/")
    shutil.rmtree(TMP, ignore_errors=True)
    return failed != 0


sys.exit(main())
