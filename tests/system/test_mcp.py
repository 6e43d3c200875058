# SPDX-License-Identifier: BSD-2-Clause
"""mcp from outside: start, restart, reload and stop, with tests/system/fakerole as every role.

META1_BUILD=<build folder> python3 -m pytest tests/system/test_mcp.py
"""
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import lab
import pytest

BUILD = lab.BUILD
MCP = BUILD / "core/mcp/mcp"
ROLE = BUILD / "tests/system/fakerole"
ROOT = os.geteuid() == 0
ALL = ("smtps", "smtpc", "qmgr", "smar")
DEAD = "Z"


def wait(what, seconds=lab.WAIT):
    return lab.wait_for('it', what, seconds)


def alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != DEAD


class Server:
    def __init__(self, port):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="mcp.", dir="/tmp"))
        self.dir.chmod(0o755)
        self.fake = self.dir / "fake"
        self.fake.mkdir()
        (self.fake / "events").touch()
        for path in (self.fake, self.fake / "events"):
            path.chmod(0o777)
        self.port = port
        self.conf = self.dir / "meta1.conf"
        self.options = {role: "" for role in ALL}
        self.sections = list(ALL)
        self.extra = ""
        self.hostname = "one.example"
        self.level = 12
        self.listen = f"listen_socket {{ type = inet; address = 127.0.0.1; port = {port}; }}"
        self.env = dict(os.environ, META1_FAKE_DIR=str(self.fake), META1_TEST_ENV="1")
        self.process = None
        self.write()

    def write(self):
        text = (
            f'hostname = {self.hostname};\nqueue_directory = "{self.dir}/q";\n'
            f'run_directory = "{self.dir}/run";\nlog_level = {self.level};\n{self.extra}\n'
        )
        for role in self.sections:
            listen = self.listen if role.split()[0] == "smtps" else ""
            text += (
                f'{role} {{ path = "{ROLE}"; arguments = "{role.split()[0]} -f {self.conf}";\n'
                f"  {self.options.get(role, '')} {listen} }}\n"
            )
        self.conf.write_text(text)

    def run(self, *args):
        return subprocess.run(
            [MCP, "-f", self.conf, *args], env=self.env, capture_output=True, text=True, timeout=60
        )

    def start(self, ready=True):
        self.log = open(self.dir / "log", "a")
        self.process = subprocess.Popen([MCP, "-f", self.conf], env=self.env, stderr=self.log)
        if ready:
            wait(lambda: len(self.gone("go")) >= len(self.sections))
            wait(lambda: self.said("mcp.ready") >= len(self.sections))
        return self

    def text(self):
        return (self.dir / "log").read_text()

    def said(self, word):
        return self.text().count(word)

    def events(self):
        lines = (self.fake / "events").read_text().splitlines()
        return [(f[0], int(f[1]), f[2], " ".join(f[3:])) for f in (x.split() for x in lines)]

    def gone(self, event, role=None):
        """Roles and pids of that event, in order."""
        return [(e[0], e[1]) for e in self.events() if e[2] == event and role in (None, e[0])]

    def pid(self, role):
        return self.gone("start", role)[-1][1]

    def behave(self, role, words):
        (self.fake / role).write_text(words + "\n")

    def normal(self, role):
        (self.fake / role).unlink()

    def greet(self, seconds=10):
        with socket.create_connection(("127.0.0.1", self.port), seconds) as s:
            s.settimeout(seconds)
            return int(s.recv(100).split()[1])

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40) if self.process else None

    def close(self):
        pids = {e[1] for e in self.events()}
        try:
            self.stop()
        finally:
            if self.process and self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            for pid in pids:
                if alive(pid):
                    os.kill(pid, signal.SIGKILL)
        report = self.text() if (self.dir / "log").exists() else ""
        print(report)
        shutil.rmtree(self.dir)
        assert "Sanitizer" not in report
        assert "runtime error" not in report
        assert "watch left over" not in report


@pytest.fixture
def server():
    s = Server(lab.free_port())
    yield s
    s.close()


def test_order_of_start_and_stop(server):
    server.start()
    assert [r for r, _ in server.gone("go")] == ["smar", "qmgr", "smtpc", "smtps"]
    assert server.greet() == server.pid("smtps")
    assert server.stop() == 0
    assert [r for r, _ in server.gone("stop")] == ["smtps", "smtpc", "qmgr", "smar"]
    assert not any(alive(pid) for _, pid in server.gone("start"))
    assert list((server.dir / "run").iterdir()) == []


def test_roles_get_only_what_is_theirs(server):
    server.options["smtps"] = "processes = 2;"
    server.write()
    server.start(ready=False)
    wait(lambda: len(server.gone("go")) == 5)
    starts = [e for e in server.events() if e[2] == "start"]
    fields = {}
    for role, _, _, rest in starts:
        fields.setdefault(role, []).append(dict(f.split("=") for f in rest.split()))
    assert fields["qmgr"][0]["index"] == "255"
    assert sorted(f["index"] for f in fields["smtps"]) == ["0", "1"]
    assert {f["listeners"] for f in fields["smtps"]} == {"1"}
    assert fields["smar"][0]["listeners"] == "0"
    # stdin, stdout, stderr and the lock are all that another program would inherit.
    assert {f["inherited"] for fs in fields.values() for f in fs} == {"4"}
    names = {p.name for p in (server.dir / "run").iterdir()}
    assert names == {
        "smar.ipc", "qmgr.ipc", "smar.ctl", "qmgr.ctl", "smtpc.ctl", "smtps.ctl", "smtps.1.ctl", "mcp.sock",
    }


def test_named_sections(server):
    server.sections = ["smtps", "smtps inner", "qmgr", "smar"]
    server.listen = ""
    server.options["smtps"] = (
        f"listen_socket {{ type = inet; address = 127.0.0.1; port = {server.port}; }}"
    )
    server.options["smtps inner"] = "listen_socket { type = unix; path = inner; umask = 007; }"
    server.write()
    server.start()
    assert [r for r, _ in server.gone("go")] == ["smar", "qmgr", "smtps", "smtps"]
    path = server.dir / "q/inner"
    assert path.stat().st_mode & 0o777 == 0o660
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path))
        assert int(s.recv(100).split()[1]) == server.gone("start", "smtps")[0][1]
    assert server.greet() == server.gone("start", "smtps")[1][1]
    assert (server.dir / "run/smtps-inner.ctl").exists()
    assert server.stop() == 0
    assert not path.exists()


def test_restart_and_kept_listener(server):
    server.start()
    first = server.pid("smtps")
    os.kill(first, signal.SIGKILL)
    wait(lambda: server.said("killed by SIGKILL"))
    # The role is down for its back-off of 1 s; the connection waits for the next life.
    second = server.greet()
    assert second == server.pid("smtps") != first
    assert server.said("restart_in_s=1") == 1
    assert len(server.gone("start")) == 5


def test_backoff_grows_and_does_not_spin(server):
    server.behave("smtpc", "die=3")
    server.start(ready=False)
    begin = time.monotonic()
    wait(lambda: server.said("restart_in_s=4"), 20)
    assert time.monotonic() - begin > 3
    delays = re.findall(r"role=smtpc .*restart_in_s=(\d+)", server.text())
    assert delays == ["1", "2", "4"]
    assert len(server.gone("start", "smtpc")) == 3
    # The others are not held up by it.
    wait(lambda: server.gone("go", "smtps"), 15)


def test_status_78_is_not_restarted_until_a_reload(server):
    server.behave("smtpc", "fail")
    server.start(ready=False)
    wait(lambda: "exit 78, configuration" in server.text())
    wait(lambda: server.gone("go", "smtps"))
    os.kill(server.pid("smtps"), signal.SIGKILL)  # one that ended later is up again
    wait(lambda: len(server.gone("go", "smtps")) == 2)
    assert len(server.gone("start", "smtpc")) == 1
    server.normal("smtpc")
    server.process.send_signal(signal.SIGHUP)
    wait(lambda: server.gone("go", "smtpc"))


def test_status_78_of_a_role_that_worked_is_tried_again(server):
    server.start()
    server.behave("smtpc", "fail")
    os.kill(server.pid("smtpc"), signal.SIGKILL)
    wait(lambda: re.search("status=.exit 78, configuration. restart_in_s=2", server.text()))
    server.normal("smtpc")
    wait(lambda: len(server.gone("go", "smtpc")) == 2)


def test_hung_role_is_aborted(server):
    server.env["META1_PING_MS"] = "100"
    server.start()
    server.behave("smtpc", "hang")
    first = server.pid("smtpc")
    os.kill(first, signal.SIGKILL)
    # The new one hangs before it is ready, which is given more time.
    wait(lambda: server.said("mcp.silent"), 20)
    server.normal("smtpc")
    wait(lambda: "killed by SIGABRT" in server.text())
    wait(lambda: len(server.gone("go", "smtpc")) == 3)
    stopped = server.pid("qmgr")
    os.kill(stopped, signal.SIGSTOP)
    wait(lambda: server.pid("qmgr") != stopped, 20)
    assert re.search(rf"role=qmgr pid={stopped} status=.killed by SIG(KILL|ABRT)", server.text())


def test_restart_dependencies(server):
    server.options["qmgr"] = "restart_dependencies = { smtps, smar };"
    server.write()
    server.start()
    before = {r: server.pid(r) for r in ALL}
    os.kill(before["qmgr"], signal.SIGKILL)
    wait(lambda: len(server.gone("go")) == 7)
    assert server.pid("smtpc") == before["smtpc"]
    assert all(server.pid(r) != before[r] for r in ("qmgr", "smtps", "smar"))
    assert {r for r, _ in server.gone("stop")} == {"smtps", "smar"}
    assert [r for r, _ in server.gone("start")][4:] == ["smar", "qmgr", "smtps"]
    # Nothing else is restarted where it is not stated.
    os.kill(server.pid("smar"), signal.SIGKILL)
    wait(lambda: len(server.gone("go")) == 8)
    assert len(server.gone("start")) == 8


def test_killed_mcp(server):
    server.behave("smtpc", "slow")
    server.start()
    pids = [pid for _, pid in server.gone("start")]
    server.process.kill()
    server.process.wait()
    killed = time.monotonic()
    # A second mcp waits for the one that is still finishing, then takes over.
    server.sections = ["smtps", "smtpc", "qmgr", "smar"]
    server.start(ready=False)
    wait(lambda: server.said("waiting_for="))
    wait(lambda: not any(alive(p) for p in pids), 12)
    assert time.monotonic() - killed < 12
    wait(lambda: len(server.gone("go")) == 8)
    server.normal("smtpc")


def test_second_mcp_is_refused(server):
    server.start()
    r = server.run()
    assert r.returncode == 71
    assert f"pid {server.process.pid}" in r.stderr


def test_earlier_role_that_does_not_end(server):
    server.start()
    stuck = server.pid("qmgr")
    os.kill(stuck, signal.SIGSTOP)
    server.process.kill()
    server.process.wait()
    r = server.run()
    assert r.returncode == 71
    assert f"qmgr, pid {stuck}, of an earlier mcp" in r.stderr
    os.kill(stuck, signal.SIGKILL)


@pytest.mark.parametrize(
    "bad, expected",
    [
        ("smtsp { }", "smtps"),
        ("log_level = many;", "log_level"),
        ("smtps { wait_for_server = 4; } qmgr { proceses = 2; }", "processes"),
    ],
)
def test_bad_configuration_starts_nothing(server, bad, expected):
    server.extra = bad
    server.write()
    r = server.run()
    assert r.returncode == 78
    assert expected in r.stderr and "^" in r.stderr
    assert server.events() == []


def test_checker_stops_the_start(server):
    server.options["smtpc"] = ""
    server.write()
    text = server.conf.read_text().replace(f'"smtpc -f {server.conf}"', '"smtpc -f /nonexistent"')
    server.conf.write_text(text)
    r = server.run()
    assert r.returncode == 78
    assert "the check of section smtpc failed" in r.stderr
    assert server.events() == []


def test_port_in_use(server):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", server.port))
        s.listen()
        r = server.run()
    assert r.returncode == 71
    assert f"127.0.0.1:{server.port}" in r.stderr and "Address already in use" in r.stderr
    assert server.events() == []


def test_reload(server):
    server.start()
    server.extra = "smtps { max_hops = 31; }"
    server.write()
    server.process.send_signal(signal.SIGHUP)
    wait(lambda: server.said("result=committed") >= 5)
    assert {r for r, _ in server.gone("prepare")} == set(ALL)
    assert {r for r, _ in server.gone("commit")} == set(ALL)
    assert len(server.gone("start")) == 4


def test_reload_of_an_option_that_needs_a_restart(server):
    server.start()
    server.hostname = "two.example"
    server.write()
    server.process.send_signal(signal.SIGHUP)
    wait(lambda: len(server.gone("go")) == 8)
    assert server.greet() == server.pid("smtps")
    wait(lambda: server.said("mcp.ready") == 8)
    # Only what asks for it restarts.
    server.behave("smtpc", "restart")
    server.process.send_signal(signal.SIGHUP)
    wait(lambda: len(server.gone("go")) == 9)
    assert server.gone("go")[-1][0] == "smtpc"


def hangup(server, level=None):
    """With another log_level, which says of what configuration a role is."""
    if level:
        server.level = level
        server.write()
    server.process.send_signal(signal.SIGHUP)


def refused(server, n):
    wait(lambda: server.said("refused, the old configuration goes on") == n)


def levels(server):
    """Role -> log_level that it started with, or was given since."""
    out = {}
    for role, pid, what, rest in server.events():
        if what in ("start", "commit"):
            out[role] = int(re.search(r"level=(\d+)", rest)[1])
    return out


def test_reload_is_all_or_nothing(server):
    """Each role in its turn refuses, or ends while it makes ready: nobody has the new one, nor who starts again."""
    server.env["META1_BACKOFF_MAX_MS"] = "50"
    server.start()
    n = 0
    for role in ALL:
        for how in ("refuse", "fall=1"):
            aborts, ready = len(server.gone("abort")), server.said("mcp.ready")
            server.behave(role, how)
            hangup(server, 13)
            refused(server, n := n + 1)
            server.normal(role)
            wait(lambda: len(server.gone("abort")) == aborts + 3)
            wait(lambda: server.said("mcp.ready") == ready + (how != "refuse"))
            assert server.gone("commit") == []
    assert server.said("ended while it made ready") == server.said("told to refuse") == 4
    assert levels(server) == dict.fromkeys(ALL, 12)
    hangup(server)
    wait(lambda: levels(server) == dict.fromkeys(ALL, 13))


def test_a_role_hangs_or_ends_in_a_reload(server):
    server.env.update(META1_BACKOFF_MAX_MS="50", META1_PING_MS="50")
    server.start()
    server.behave("smar", "stuck")
    hangup(server, 13)
    refused(server, 1)
    server.normal("smar")
    wait(lambda: server.said("mcp.ready") == 5)
    assert set(levels(server).values()) == {12}
    # One that has answered, before the others have: it starts again with the new one.
    server.behave("smtpc", "soon")
    server.behave("qmgr", "wait")
    hangup(server, 14)
    wait(lambda: re.search(r"mcp\.ended role=smtpc", server.text()))
    server.normal("smtpc")
    server.normal("qmgr")
    wait(lambda: levels(server) == dict.fromkeys(ALL, 14))


def test_reloads_overlap(server):
    """One after the other: what is read last is what all have."""
    server.start()
    server.behave("smar", "wait")
    hangup(server, 13)
    wait(lambda: server.gone("prepare", "smar"))
    for _ in range(5):
        hangup(server, 14)
    server.normal("smar")
    wait(lambda: levels(server) == dict.fromkeys(ALL, 14))
    for role in ALL:
        said = [what + rest for r, _, what, rest in server.events() if r == role and what in ("prepare", "commit", "abort")]
        assert said == [w + f"level={n}" for n in (13, 14) for w in ("prepare", "commit")], role


def test_reload_of_a_bad_file(server):
    """Wrong, gone, a folder; whatever it is by now, a role that ends meanwhile comes back as it was."""
    server.env["META1_BACKOFF_MAX_MS"] = "50"
    server.start()
    good = server.conf.read_text()
    server.conf.write_text(good + "smtps { max_hopps = 3; }\n")
    hangup(server)
    wait(lambda: "max_hops" in server.text())
    refused(server, 1)
    server.conf.unlink()
    hangup(server)
    refused(server, 2)
    assert f"cannot read {server.conf}: No such file" in server.text()
    server.conf.mkdir()
    hangup(server)
    refused(server, 3)
    os.kill(server.pid("smtps"), signal.SIGKILL)
    wait(lambda: len(server.gone("go", "smtps")) == 2)
    assert server.greet() == server.pid("smtps")
    assert server.gone("prepare") == []
    server.conf.rmdir()
    server.conf.write_text(good)
    hangup(server)
    wait(lambda: len(server.gone("commit")) == 4)


def greeted(port, seconds=10):
    with socket.create_connection(("127.0.0.1", port), seconds) as s:
        s.settimeout(seconds)
        return int(s.recv(100).split()[1])


@pytest.mark.parametrize("action", ["accept", "pass"])
def test_reload_of_listeners(server, action):
    """Also of a role that sleeps until somebody comes, and of one that gets them over pass_fd_socket."""
    server.options["smtps"] = "start_action = pass; pass_fd_socket = smtps/smtpsfd;" if action == "pass" else f"start_action = {action};"
    server.write()
    server.start(ready=False)
    wait(lambda: len(server.gone("go")) == (3 if action == "accept" else 4))
    other = lab.free_port()
    server.options["smtps"] += f" listen_socket b {{ type = inet; address = 127.0.0.1; port = {other}; }}"
    server.write()
    hangup(server)
    wait(lambda: f"mcp.listen socket=127.0.0.1:{other} action=opened" in server.text())
    assert greeted(other) == server.pid("smtps") == server.greet()
    assert len(server.gone("start", "smtps")) == 1
    server.listen = ""
    server.write()
    hangup(server)
    wait(lambda: f"mcp.listen socket=127.0.0.1:{server.port} action=closed" in server.text())
    wait(lambda: not lab.listens(server.port))
    assert greeted(other) == server.pid("smtps") and len(server.gone("start", "smtps")) == 1
    os.kill(server.pid("smtps"), signal.SIGKILL)
    wait(lambda: len(server.gone("go", "smtps")) == 2)
    assert greeted(other) == server.pid("smtps")


@pytest.mark.skipif(not ROOT, reason="needs a port below 1024")
def test_reload_opens_low_ports(server):
    port = next(p for p in range(1023, 600, -1) if not lab.listens(p))
    server.options["smtps"] = "user = nobody;"
    server.write()
    server.start()
    server.options["smtps"] += f" listen_socket low {{ type = inet; address = 127.0.0.1; port = {port}; }}"
    server.write()
    hangup(server)
    wait(lambda: "action=opened" in server.text())
    assert greeted(port) == server.pid("smtps") == server.greet()


def test_pass_fd_socket(server):
    server.options["smtps"] = "start_action = pass; pass_fd_socket = smtps/smtpsfd;"
    server.write()
    server.start()
    assert server.greet() == server.pid("smtps")
    assert not (server.dir / "q/smtps/smtpsfd").exists()
    os.kill(server.pid("smtps"), signal.SIGKILL)
    wait(lambda: len(server.gone("go", "smtps")) == 2)
    assert server.greet() == server.pid("smtps")


@pytest.mark.parametrize("action", ["accept", "nostartaccept"])
def test_start_on_the_first_connection(server, action):
    server.options["smtps"] = f"start_action = {action};"
    server.write()
    server.start(ready=False)
    wait(lambda: len(server.gone("go")) == 3)
    assert server.gone("start", "smtps") == []
    assert server.greet() == server.pid("smtps")
    first = server.pid("smtps")
    os.kill(first, signal.SIGKILL)
    wait(lambda: server.pid("smtps") != first)


def test_background(server):
    r = server.run("-D")
    assert r.returncode == 0, r.stderr
    pid = int((server.dir / "run/mcp.pid").read_text())
    try:
        wait(lambda: len(server.gone("go")) == 4)
        assert os.getsid(pid) == pid
    finally:
        os.kill(pid, signal.SIGTERM)
    wait(lambda: not alive(pid), 20)
    assert not (server.dir / "run/mcp.pid").exists()
    server.extra = "nonsense;"
    server.write()
    assert server.run("-D").returncode == 78


def test_command_line(server):
    assert server.run("-V").stdout.startswith("mcp (meta1) ")
    assert "libevent" in server.run("-VV").stdout
    assert "hostname = one.example" in server.run("-VVVV").stdout
    assert "qmgr.ipc" in server.run("-T", "roles").stdout
    assert server.run("-C").returncode == 0
    assert server.events() == []
    alone = subprocess.run(["smtps", "-f", server.conf], executable=ROLE, env=server.env,
                           capture_output=True, text=True)
    assert alone.returncode == 64 and "mcp starts this program" in alone.stderr


needs_root = pytest.mark.skipif(not ROOT, reason="only root can change users")


@needs_root
def test_users_are_dropped(server):
    accounts = {"smtps": "daemon", "smtpc": "nobody", "qmgr": "mail", "smar": "games"}
    for role, user in accounts.items():
        server.options[role] = f"user = {user};"
    server.env["LD_TEST"] = "1"
    server.write()
    server.start()
    for role, user in accounts.items():
        status = pathlib.Path(f"/proc/{server.pid(role)}/status").read_text()
        pw = pwd.getpwnam(user)
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["Uid"].split() == [str(pw.pw_uid)] * 4
        assert fields["Gid"].split() == [str(pw.pw_gid)] * 4
        assert int(fields["CapEff"], 16) == 0 and int(fields["CapPrm"], 16) == 0
        assert fields["NoNewPrivs"] == "1"
        groups = {int(g) for g in fields["Groups"].split()}
        reader = {pwd.getpwnam("nobody").pw_gid} if role in ("qmgr", "smtpc") else set()
        assert groups == set(os.getgrouplist(user, pw.pw_gid)) | reader
        ctl = (server.dir / f"run/{role}.ctl").stat()
        assert ctl.st_uid == pw.pw_uid
    state = (server.dir / "q/state").stat()
    assert (state.st_uid, state.st_mode & 0o7777) == (pwd.getpwnam("mail").pw_uid, 0o700)
    folder = (server.dir / "q/in").stat()
    assert (folder.st_uid, folder.st_mode & 0o7777) == (pwd.getpwnam("daemon").pw_uid, 0o2750)
    assert folder.st_gid == pwd.getpwnam("nobody").pw_gid


@needs_root
def test_root_without_a_user_is_an_error(server):
    del server.env["META1_TEST_ENV"]
    r = server.run()
    assert r.returncode == 78
    assert "smtps would run as root; say user = …;" in r.stderr


def test_wrong_folder_is_refused_with_its_remedy(server):
    q = server.dir / "q"
    q.mkdir()
    q.chmod(0o777)
    r = server.run()
    assert r.returncode == 78
    assert f"chmod 0755 {q}" in r.stderr
    assert server.events() == []
