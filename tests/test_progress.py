"""The progress line as whoever sits before a terminal sees it, and as a file has it."""

import fcntl
import io
import os
import pathlib
import pty
import re
import struct
import subprocess
import sys
import termios
import time
import types

import pytest
import quick
from faults._lab import WITHOUT_PICTURES
from rich.console import Console

from vae_jax import console, live
from vae_jax.lab import progress

ROOT = pathlib.Path(__file__).parents[1]
ROW = {"loss": 104.62, "distortion": 81.52, "rate": 5.78, "beta": 4.0}
ROW |= {"valid_elbo": -88.12, "active_units": 7}
EXPERIMENT = types.SimpleNamespace(
    num_steps=500,
    configs=[None],
    config=types.SimpleNamespace(batch_size=100),
    train=types.SimpleNamespace(steps_per_epoch=10),
)
GIVEN = f"""
from types import SimpleNamespace as namespace
ROW, EXPERIMENT = {ROW!r}, {EXPERIMENT!r}
"""
WATCHED = """
import sys, time
from vae_jax.lab.progress import Progress
from vae_jax import console
from vae_jax.storage import runs

class Run:
    def log(self, line, *, echo=False):
        if echo:
            console.say(line)
        with open(sys.argv[1], "a") as file:
            file.write(line + "\\n")

run = Run()
with Progress(run, EXPERIMENT) as watcher:
    for epoch in range(1, 6):
        row = {**ROW, "step": 10 * epoch, "epoch": epoch}
        watcher.rows([row], 12345.0 if epoch > 1 else None)
        time.sleep(0.12)
        {each}
print("done")
"""


class Screen:
    """What a terminal of a width shows of the bytes that it is sent: its lines.

    A character beyond the last column begins another line, as on any terminal.
    """

    def __init__(self, width):
        self.width = width
        self.lines = [""]
        self.row = self.column = 0
        self.num_wrapped = 0

    def feed(self, text):
        for control, shown in re.findall(r"(\x1b\[[?0-9;]*[A-Za-z]|[\r\n])|(.)", text):
            if shown:
                self._put(shown)
            elif control == "\r":
                self.column = 0
            elif control == "\n":
                self._down()
            elif control.endswith("K"):
                kept = "" if control == "\x1b[2K" else self.lines[self.row][: self.column]
                self.lines[self.row] = kept
            elif control.endswith("A"):
                self.row -= int(control[2:-1] or 1)
            else:
                assert control.endswith("m"), f"{control!r} does more than color"
        return self

    def _put(self, character):
        if self.column == self.width:
            self.num_wrapped += 1
            self.column = 0
            self._down()
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
        self.column += 1

    def _down(self):
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")


def on_a_terminal(arguments, width, during=lambda *_: None, **environ):
    """What a program writes on a terminal, its exit code; `during` may act on what it has written.

    The terminal puts a carriage return before each line feed.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    named = ("COLUMNS", "TERM", "NO_COLOR", "FORCE_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE")
    inherited = {name: value for name, value in os.environ.items() if name not in named}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**inherited, "TERM": "xterm-256color", **environ},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    raw = b""
    try:
        while True:
            try:
                read = os.read(master, 4096)
            except OSError:  # on Linux the end of a terminal
                break
            if not read:
                break
            raw += read
            during(process, raw.decode(errors="replace"), master)
        return raw.decode(), process.wait(60)
    finally:
        process.kill()
        process.wait()
        os.close(master)


def watched(tmp_path, width, each="pass", **settings):
    program = GIVEN + WATCHED.replace("{each}", each)
    during = settings.pop("during", lambda *_: None)
    arguments = ["-c", program, str(tmp_path / "log")]
    return on_a_terminal(arguments, width, during, **settings)


@pytest.mark.parametrize("width", [20, 7, 1])
def test_a_narrow_terminal_wraps_no_line(width):
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None)
    line = live.LiveLine(console, 50)
    for epoch in range(1, 51):
        line.show(epoch, "loss 104.62, 12,345 examples/s", "1h07 left")
        line._shown = -1.0
    line.end()
    shown = re.sub(r"\x1b\[\?25[lh]", "", file.getvalue()).replace("\n", "\r\n")
    screen = Screen(width).feed(shown)
    assert screen.num_wrapped == 0
    assert len(screen.lines) == 2


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (140, r"epoch 5/50 [━╸]+ loss .*, valid elbo -88.12, active 7 +0:04 left"),
        (80, r"epoch 5/50 [━╸]+ loss 104\.62, 12,345 examples/s, disto.*… 0:04 left"),
        (40, r"epoch 5/50 [━╸]+ loss 104\..*… 0:04 left"),
    ],
)
def test_the_line_fits_the_terminal_and_says_what_is_left(tmp_path, width, line):
    text, code = watched(tmp_path, width)
    assert code == 0, text
    screen = Screen(width).feed(text)
    assert screen.num_wrapped == 0
    shown, *rest = screen.lines
    assert re.fullmatch(line, shown), shown
    assert rest == ["done", ""]


def test_the_first_line_cannot_say_what_is_left(tmp_path):
    text, _ = watched(tmp_path, 80, each="break")
    assert Screen(80).feed(text).lines[0].endswith("-:-- left")


def test_output_during_training_is_on_separate_lines(tmp_path):
    text, _ = watched(tmp_path, 80, each="console.say(f'run {epoch} became [bold] non-finite')")
    lines = Screen(80).feed(text).lines
    assert lines[:5] == [f"run {epoch} became [bold] non-finite" for epoch in range(1, 6)]
    assert lines[5].startswith("epoch 5/50")
    assert lines[6:] == ["done", ""]


def test_an_error_stands_below_the_line_and_ends_it(tmp_path):
    text, code = watched(tmp_path, 80, each="raise SystemExit('error: the disk is full')")
    assert code == 1
    lines = Screen(80).feed(text).lines
    assert lines[0].startswith("epoch 1/50")
    assert lines[1:] == ["error: the disk is full", ""]
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    "environ", [{"TERM": "dumb"}, pytest.param({"TERM": "unknown"}, marks=pytest.mark.slow)]
)
def test_output_that_cannot_rewrite_lines_gets_plain_ones(tmp_path, environ):
    text, code = watched(tmp_path, 80, **environ)
    assert code == 0
    assert "\x1b" not in text
    (line, done) = text.replace("\r\n", "\n").splitlines()
    assert line == (tmp_path / "log").read_text().strip()
    assert line.startswith("epoch 5/50: loss 104.62 = distortion 81.52 + 4·rate 5.78, valid elbo")
    assert done == "done"


@pytest.mark.parametrize(("environ", "is_colored"), [({"NO_COLOR": "1"}, False), ({}, True)])
def test_colors_are_for_who_wants_them_and_no_log(tmp_path, environ, is_colored):
    text, code = watched(tmp_path, 80, **environ)
    assert code == 0
    colors = re.findall(r"\x1b\[[0-9;]*(?:3[0-9]|4[0-9])[0-9;]*m", text)
    assert bool(colors) == is_colored
    assert Screen(80).feed(text).lines[0].startswith("epoch 5/50")
    log = (tmp_path / "log").read_text()
    assert "\x1b" not in log
    assert log.startswith("epoch 5/50: loss 104.62 = distortion 81.52 + 4·rate 5.78, valid elbo")


def test_a_terminal_without_those_letters_and_one_that_shrinks_end_nothing(tmp_path):
    def shrink(process, so_far, master):
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 25, 0, 0))

    text, code = watched(tmp_path, 80, during=shrink, PYTHONIOENCODING="ascii:replace")
    assert code == 0
    assert text.endswith("done\r\n")
    last = text.replace("\r\n", "\n").split("\x1b[2K")[-1]
    assert len(re.sub(r"\x1b\[[0-9;]*m", "", last).splitlines()[0]) <= 25


def test_a_terminal_that_goes_away_ends_nothing(tmp_path):
    """As when a connection breaks and nothing was told of it."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", GIVEN + WATCHED.replace("{each}", "pass"), str(tmp_path / "log")],
        cwd=ROOT,
        stdin=slave,
        stdout=slave,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(slave)
    os.read(master, 1)
    os.close(master)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, b"")
    assert (tmp_path / "log").read_text().startswith("epoch 5/50: ")


def test_elsewhere_there_is_a_line_every_ten_seconds(monkeypatch, capsys):
    clock, logged = [0.0], []
    monkeypatch.setattr(progress.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(
        live.importlib.util, "find_spec", lambda _: pytest.fail("looks for a notebook")
    )
    run = types.SimpleNamespace(log=lambda line, echo: logged.append((line.split(":")[0], echo)))
    with progress.Progress(run, EXPERIMENT) as watcher:
        for second in range(1, 36):
            clock[0] = float(second)
            watcher.rows([{**ROW, "step": 10 * second, "epoch": second}], None)
        watcher.rows([], None)
    assert logged == [(f"epoch {epoch}/50", True) for epoch in (10, 20, 30, 35)]
    assert capsys.readouterr().out == ""


IN_THE_FOREGROUND = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
"""
ASKED = "SIGINT: saving, then leaving (again to leave at once)"


def interrupted(tmp_path, is_time):
    """The screen of a training at which Ctrl-C is pressed at such times, and its exit code.

    Args:
        tmp_path: a folder.
        is_time: from what it has written, and how often the key was pressed.
    """
    pressed = []

    def press(process, so_far, master):
        if is_time(so_far, len(pressed)):
            pressed.append(1)
            os.write(master, b"\x03")

    flags = [
        "--epochs=100000",
        "--network=linear",
        "--latent_dim=2",
        f"--workdir={tmp_path / 'run'}",
    ]
    program = IN_THE_FOREGROUND + quick.program(WITHOUT_PICTURES)
    text, code = on_a_terminal(["-c", program, *flags], 80, press)
    return Screen(80).feed(text).lines, code


def test_an_interrupt_has_each_of_its_messages_on_a_line_of_its_own(tmp_path):
    lines, code = interrupted(tmp_path, lambda so_far, num: num == 0 and "left" in so_far[-40:])
    assert code == 130
    assert [line for line in lines if "SIGINT" in line] == [ASKED]
    *_, below, saved, end = lines
    assert re.fullmatch(r"epoch \d+/100000 .* left", below)
    assert re.fullmatch(r"interrupted at step \d+, saved", saved)
    assert end == ""
    assert lines.index(ASKED) < len(lines) - 2
    # the terminal itself shows the key
    assert [line[-2:] for line in lines if "^C" in line] == ["^C"]


@pytest.mark.slow
def test_a_second_interrupt_leaves_a_line_that_is_ended(tmp_path):
    words = ["left", ASKED]
    lines, code = interrupted(tmp_path, lambda so_far, num: num < 2 and words[num] in so_far)
    assert code == 130
    assert [line for line in lines if "SIGINT" in line] == [ASKED, "SIGINT: left at once"]
    assert lines[-1] == ""


def test_a_log_says_every_half_minute_what_goes_on(capsys):
    console.say("first", is_error=True)
    now = time.monotonic()
    with console.doing("reading mnist"):
        console.tell(now + 29)
        assert capsys.readouterr().err == "first\n"
        with console.doing("compiling", lambda: "step 3"):
            console.tell(now + 31)
        assert capsys.readouterr().err == "compiling: 0:31 so far, step 3\n"
        console.tell(time.monotonic() + 29)
        assert capsys.readouterr().err == ""
        console.say("another line", is_error=True)
        console.tell(time.monotonic() + 31)
        assert capsys.readouterr().err == "another line\nreading mnist: 0:31 so far\n"
    console.tell(now + 999)
    assert capsys.readouterr().err == ""


def test_another_process_says_nothing(capsys, monkeypatch):
    monkeypatch.setitem(console._said, "is_silent", False)
    console.be_silent()
    with console.doing("compiling"):
        console.tell(time.monotonic() + 99)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("width", [80, 20])
def test_a_terminal_shows_what_goes_on_in_one_line_that_goes(width):
    program = """
import time
from vae_jax import console
console.SILENCE[True] = 0.2
with console.doing("evaluating the test split"):
    time.sleep(2.2)
console.say("done")
"""
    text, code = on_a_terminal(["-c", program], width)
    assert code == 0, text
    assert "evaluating the test split: 0:01 so far"[: width - 1] in text
    screen = Screen(width).feed(text)
    assert screen.num_wrapped == 0
    assert [line.rstrip() for line in screen.lines] == ["done", ""]
