import io

import pytest

from searchhub.callbacks.progress import ProgressDisplay
from searchhub.space import Architecture
from searchhub.trial import SCORING, WARMUP, Trial, TrialResult


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def file():
    return io.StringIO()


def trial(number, round=0):
    return Trial(number, Architecture({"a": 1}), round=round)


def test_eta_counts_what_is_left_at_this_process_speed(clock, file):
    stage = ProgressDisplay(file=file, clock=clock).stage("search", 10, done=6)
    assert stage.eta is None
    clock.now += 8
    stage.advance()
    assert stage.eta == pytest.approx(3 * 8)  # 8 s a unit here, whatever the first six took
    stage.step(1, 2)
    assert stage.eta == pytest.approx(2.5 * 8 / 1.5)
    stage.advance(n=3)
    assert stage.eta == 0.0


def test_eta_within_the_first_unit_goes_by_its_steps(clock, file):
    stage = ProgressDisplay(file=file, clock=clock).stage("search", 2)
    clock.now += 5
    stage.step(5, 20)
    assert stage.eta == pytest.approx(5 / 0.25 * 1.75)


def test_plain_lines_come_at_intervals_and_at_the_ends(clock, file):
    with ProgressDisplay(2, file=file, clock=clock) as progress, progress.stage("training network 1 of 3", 4) as stage:
        for epoch in range(4):
            clock.now += 3
            stage.advance(best=0.5 + epoch / 10)
    assert file.getvalue().splitlines() == [
        "[1/2] training network 1 of 3: 4 to do",
        "[1/2] training network 1 of 3: 2/4, 0:06, ETA 0:06, best 0.6000",
        "[1/2] training network 1 of 3: 4/4 done in 0:12, best 0.8000",
    ]


def test_plain_lines_grow_rare(clock, file):
    stage = ProgressDisplay(file=file, clock=clock).stage("search", 100_000)
    for _ in range(86_400):
        clock.now += 1
        stage.advance()
    assert len(file.getvalue().splitlines()) < 300


def test_search_callback(clock, file):
    progress = ProgressDisplay(3, file=file, clock=clock)
    callback = progress.callback()
    callback.on_search_start(6, 2, 0.4)
    callback.on_message("checkpoint 000002 was passed over")
    for number in (2, 3, 4, 5):
        callback.on_trial_start(trial(number, round=number // 3))
        progress.step(1, 10)
        clock.now += 4
        progress.step(9, 10)
        callback.on_trial_end(TrialResult(trial(number), 0.5), number + 1, 6, 0.5)
    callback.on_search_end(None)
    assert file.getvalue().splitlines() == [
        "[1/3] search: 6 to do, 2 of them done before",
        "checkpoint 000002 was passed over",
        "[1/3] search: 3/6, 0:08, ETA 0:09, best 0.5000, trial 3, round 1, step 9/10",
        "[1/3] search: 5/6, 0:16, ETA 0:00, best 0.5000, trial 5, round 1, step 9/10",
        "[1/3] search: 6/6 done in 0:16, best 0.5000",
    ]


def test_warmup_counts_as_trials_and_has_no_best(clock, file):
    callback = ProgressDisplay(1, file=file, clock=clock).callback()
    callback.on_search_start(4, 0, None)
    for number in range(2):
        callback.on_trial_start(trial(number, round=WARMUP))
        clock.now += 6
        callback.on_trial_end(TrialResult(trial(number, round=WARMUP), 0.5), number + 1, 4, None)
    assert file.getvalue().splitlines()[1:] == [
        "[1/1] search: 1/4, 0:06, ETA 0:18, trial 0, warm-up",
        "[1/1] search: 2/4, 0:12, ETA 0:12, trial 1, warm-up",
    ]


def test_scoring_is_a_stage_of_its_own(clock, file):
    callback = ProgressDisplay(2, file=file, clock=clock).callback("search", 2)
    callback.on_search_start(4, 0, None)
    for number, (round, best) in enumerate([(0, 0.7), (0, 0.8), (SCORING, 0.3), (SCORING, 0.4)]):
        callback.on_trial_start(trial(number, round))
        clock.now += 1
        callback.on_trial_end(TrialResult(trial(number, round), best), number + 1, 4, best)
    callback.on_search_end(None)
    assert file.getvalue().splitlines() == [
        "[1/2] search: 2 to do",
        "[1/2] search: 2/2 done in 0:02, best 0.8000",
        "[2/2] score architectures: 2 to do",
        "[2/2] score architectures: 2/2 done in 0:02, best 0.4000",
    ]


@pytest.mark.parametrize(("done", "before"), [(2, ""), (3, ", 1 of them done before"), (4, ", 2 of them done before")])
def test_scoring_goes_on(clock, file, done, before):
    callback = ProgressDisplay(2, file=file, clock=clock).callback("search", 2)
    callback.on_search_start(4, done, 0.3)
    for number in range(done, 4):
        callback.on_trial_start(trial(number, SCORING))
        callback.on_trial_end(TrialResult(trial(number, SCORING), 0.4), number + 1, 4, 0.4)
    callback.on_search_end(None)
    best = 0.3 if done == 4 else 0.4
    assert file.getvalue().splitlines() == [
        "[1/2] search: 2 to do, 2 of them done before",
        "[1/2] search: 2/2 done in 0:00, best 0.3000",
        f"[2/2] score architectures: 2 to do{before}",
        f"[2/2] score architectures: 2/2 done in 0:00, best {best:.4f}",
    ]


def test_a_finished_search_that_is_found_again(clock, file):
    callback = ProgressDisplay(1, file=file, clock=clock).callback()
    callback.on_search_start(6, 6, 0.4)
    callback.on_search_end(None)
    assert file.getvalue().splitlines()[-1] == "[1/1] search: 6/6 done in 0:00, best 0.4000"


def test_an_error_stops_the_stage(clock, file):
    with pytest.raises(KeyboardInterrupt), ProgressDisplay(file=file, clock=clock) as progress:
        progress.stage("training", 4).advance()
        raise KeyboardInterrupt
    assert file.getvalue().splitlines()[-1] == "training: 1/4 stopped after 0:00"


def test_a_stage_that_is_still_open_ends_when_the_next_begins(clock, file):
    progress = ProgressDisplay(file=file, clock=clock)
    first = progress.stage("one", 2)
    progress.stage("two", 2)
    first.advance()  # heard, but no longer shown
    assert file.getvalue().splitlines() == ["one: 2 to do", "one: 0/2 stopped after 0:00", "two: 2 to do"]


def test_other_processes_are_silent(clock, file):
    with ProgressDisplay(enabled=False, file=file, clock=clock) as progress, progress.stage("one", 1) as stage:
        progress.message("hello")
        stage.advance()
    assert file.getvalue() == ""


def test_a_file_gets_no_control_codes_even_under_force_color(clock, file, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with ProgressDisplay(file=file, clock=clock) as progress, progress.stage("one", 1) as stage:
        stage.advance()
    assert "\x1b" not in file.getvalue()


def test_a_terminal_gets_live_lines(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    file = Terminal()
    with ProgressDisplay(2, file=file) as progress:
        callback = progress.callback()
        callback.on_search_start(2, 0, None)
        callback.on_trial_start(trial(0, round=0))
        progress.step(3, 7)
        callback.on_message("[bold]as it is[/bold]")
        callback.on_trial_end(TrialResult(trial(0), 0.5), 1, 2, 0.5)
        progress._live.progress.refresh()
        callback.on_search_end(None)
    text = file.getvalue()
    assert "stage 1 of 2" in text
    assert "best 0.5000" in text
    assert "[bold]as it is[/bold]" in text
    assert "[1/2] search: 1/2 stopped after" in text
