"""One run of the harness: its peers, its rounds, and the tables that the samples go into.

Owns how samples are taken: interleaved, bounded in time, and dropped loudly when they cannot be trusted.
"""

import contextlib
import signal
import sys
import traceback

import lab
import machine

# Longer than any sample takes: one that hangs must not hang the run.
SAMPLE_SECONDS_MAX = 300
MEASUREMENTS = {}


def measurement(name, title):
    """Registers a function of a bench as the measurement of that name."""

    def register(function):
        MEASUREMENTS[name] = (title, function)
        return function

    return register


class Table:
    """The samples of one measurement: by row, one sample per round; a sample is figures by name."""

    def __init__(self, name, title, unit, primary, baseline, notes=()):
        self.name, self.title, self.unit, self.primary = name, title, unit, primary
        # The row that all others are compared with, or a function that names it for each row.
        self.baseline = baseline if isinstance(baseline, str) else "own"
        self.baseline_of = (lambda _: baseline) if isinstance(baseline, str) else baseline
        self.notes = list(notes)
        self.rows = {}
        self.dropped = []

    def add(self, row, number, sample):
        """Takes the sample of a round."""
        self.rows.setdefault(row, {})[number] = sample


class Bench:
    """What a measurement is given."""

    def __init__(self, options, weirs, haproxies, others, programs):
        self.options, self.programs = options, programs
        self.weirs, self.haproxies, self.others = weirs, haproxies, others
        self.lab = None
        self.tables = []

    @property
    def peers(self):
        return [*self.weirs, *self.haproxies, *self.others]

    @property
    def queueing(self):
        return [peer for peer in self.peers if peer.queues]

    def count(self, full, quick=None):
        """A number of requests or the like: the full one, or with --quick a tenth or what is said."""
        return (quick or max(1, full // 10)) if self.options.quick else full

    def table(self, unit, primary, notes=(), title=None, baseline=None, timed=False):
        """A new table of this measurement; ratios are those of `primary`, to the baseline's row.

        `timed`: its figures are times and rates, which mean little while the host takes the cores away.
        """
        baseline = baseline or self.haproxies[0].name
        table = Table(self.name, title or self.title, unit, primary, baseline, notes)
        table.noise_max = self.options.noise_max if timed else 200
        self.tables.append(table)
        return table

    def rounds(self, table, rows, sample, rounds=None):
        """A B A B: one sample of every row per round. `rows` is a dict, or running peers."""
        cores = self.lab.proxy_cores | self.lab.load_cores
        rows = rows if isinstance(rows, dict) else {running.name: running for running in rows}
        for number in range(rounds or self.options.rounds):
            for name, subject in rows.items():
                with self.trusted(table, name, number):
                    with machine.Surroundings(cores, self.lab.cpu) as around:
                        figures = sample(subject)
                    noise = {"steal %": around.steal_percent, "others %": around.others_percent}
                    if sum(noise.values()) > table.noise_max:
                        told = ", ".join(f"{key} {value:.1f}" for key, value in noise.items())
                        raise lab.Untrusted(f"the cores were not ours alone: {told}")
                    figures |= noise
                    table.add(name, number, figures)
                    self.show(number, name, figures)

    def show(self, number, name, figures):
        """One sample, as soon as it is there."""
        shown = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
        print(f"  round {number + 1}: {name}: {shown}", flush=True)

    @contextlib.contextmanager
    def trusted(self, table, row, number):
        """Runs one sample, bounded in time; what goes wrong costs this sample only, and is said."""
        def too_long(*_):
            raise lab.Untrusted(f"took more than {SAMPLE_SECONDS_MAX} s")

        signal.signal(signal.SIGALRM, too_long)
        signal.alarm(SAMPLE_SECONDS_MAX)
        try:
            yield
        except Exception as error:  # noqa: BLE001  (whatever it is, there is no number)
            if not isinstance(error, (lab.Untrusted, OSError)):
                traceback.print_exc()
            reason = str(error) or type(error).__name__
            table.dropped.append({"row": row, "round": number, "reason": reason})
            print(f"  round {number + 1}: {row}: DROPPED: {reason}", file=sys.stderr, flush=True)
        finally:
            signal.alarm(0)

    def measure(self, name):
        """One measurement, with a lab of its own, which ends all that it has started."""
        self.name = name
        self.title, function = MEASUREMENTS[name]
        print(f"\n=== {name}: {self.title}", flush=True)
        before = len(self.tables)
        with lab.Lab() as self.lab:
            try:
                function(self)
            except (lab.Untrusted, OSError) as error:
                if len(self.tables) == before:
                    self.table("", "")
                self.tables[-1].dropped.append({"row": "all", "round": 0, "reason": str(error)})
                print(f"  {name}: DROPPED: {error}", file=sys.stderr, flush=True)

    def start(self, peers, job, table, check=lambda running: None):
        """Starts these peers and tries each; one that fails is dropped from the table and left out."""
        started = []
        for peer in peers:
            if self.name in peer.cannot:
                table.notes.append(f"{peer.name} is left out: {peer.cannot[self.name]}")
                continue
            with self.trusted(table, peer.name, 0):
                running = peer.start(self, job)
                check(running)
                started.append(running)
        return started
