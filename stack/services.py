"""Everything around one database: Auth and Storage, the Data API, the workers, the provider simulator, a mail server
that keeps what it gets, the gateway.

Each part is a process of its own session with a log file. What runs is written to `processes.json` with each process's
start time, so that any later process can stop it, and never a stranger who got the same id.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import platform
import secrets
import shutil
import signal
import socket
import string
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import psutil
from cryptography.hazmat.primitives.asymmetric import ec

from stack.cluster import REPO, Cluster, StackError, free_port, port_is_free, telling_line

MAIL_FROM = "Avenue <hello@avenue.example>"
PARTS = ("auth", "rest", "simulator", "mail", "http", "jobs", "gateway")
# A part that only runs where photos are edited by a prediction API: AVENUE_STUDIO_PROVIDER=http.
STUDIO = "studio"
START_SECONDS = 60
REASONS = ("Error", "error", "rror:", "FATAL", "emerg", "in use", "refused", "does not exist", "cannot", "not found")


@dataclass(frozen=True)
class Part:
    """How one part is started, and how it says that it is ready."""

    command: list[str]
    env: dict[str, str]
    ready: Callable[[], bool]


@dataclass(frozen=True)
class Running:
    """A process started by some Services of this directory, perhaps in an earlier program run."""

    pid: int
    started: float
    port: int

    def processes(self) -> list[psutil.Process]:
        """The part's process and whatever it left behind; empty when all are gone or the id belongs to a stranger."""
        try:
            leader = psutil.Process(self.pid)
            if abs(leader.create_time() - self.started) > 1:
                return []
        except psutil.NoSuchProcess:
            pass
        found = []
        for process in psutil.process_iter():
            # A session id is not given to anybody else while a member of the session lives.
            with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
                if os.getsid(process.pid) == self.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    @property
    def alive(self) -> bool:
        """Whether the part's own process runs."""
        with contextlib.suppress(psutil.Error):
            leader = psutil.Process(self.pid)
            return abs(leader.create_time() - self.started) <= 1 and leader.status() != psutil.STATUS_ZOMBIE
        return False


class Services:
    """The parts around one database of a running cluster.

    root: directory for keys, files, logs and process ids; made when missing, keys survive restarts.
    port: the gateway's port; None takes a free one (and keeps it over restarts while it stays free).
    first_port: where the search for a free gateway port begins; None searches anywhere.
    env: further environment for the workers, over the values of `env`.
    """

    def __init__(
        self,
        cluster: Cluster,
        database: str,
        root: Path,
        port: int | None = None,
        first_port: int | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        self.cluster = cluster
        self.database = database
        self.root = Path(root).resolve()
        self.logs = self.root / "logs"
        self._forced_port = port
        self._first_port = first_port
        self._extra_env = env or {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        for directory in (self.root, self.logs, self.root / "tmp", self.root / "files"):
            directory.mkdir(parents=True, exist_ok=True)
        self._keys = self._load_keys()

    # -- addresses and keys -------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The gateway's TCP port on 127.0.0.1."""
        return self._port("gateway")

    @property
    def url(self) -> str:
        """Base URL a Supabase client is created with."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def simulator_url(self) -> str:
        """Base URL of the payment provider simulator."""
        return f"http://127.0.0.1:{self._port('simulator')}"

    @property
    def studio_url(self) -> str:
        """Base URL of the photo studio simulator; it runs only where `parts` has it."""
        return f"http://127.0.0.1:{self._port(STUDIO)}"

    @property
    def parts(self) -> tuple[str, ...]:
        """What start() starts."""
        asked = {**os.environ, **self._extra_env}
        if asked.get("AVENUE_STUDIO_PROVIDER") != "http":
            return PARTS
        # With another API nobody needs the simulator. Its own address is there after `eval "$(make -s env)"`.
        return PARTS if asked.get("AVENUE_STUDIO_API_BASE", self.studio_url) != self.studio_url else (STUDIO, *PARTS)

    @property
    def outbox(self) -> Path:
        """Where every mail the workers send ends up, one .eml file each."""
        return self.root / "outbox"

    @property
    def http_url(self) -> str:
        """Base URL of the workers' HTTP process itself, past the gateway (also serves /metrics and the API page)."""
        return f"http://127.0.0.1:{self._port('http')}"

    @property
    def rest_url(self) -> str:
        """Base URL of PostgREST itself, past the gateway."""
        return f"http://127.0.0.1:{self._port('rest')}"

    @property
    def jwt_secret(self) -> str:
        """The legacy secret (HS256): signs the JWT forms of the API keys; people's tokens are accepted too."""
        return self._keys["jwt_secret"]

    @property
    def signing_keys(self) -> list[dict[str, str]]:
        """Private ES256 keys as JWKs: the first signs people's tokens, the others were used before and still verify."""
        return self._keys["signing_keys"]

    @property
    def publishable_key(self) -> str:
        """The public API key of the new kind; no JWT."""
        return self._keys["publishable_key"]

    @property
    def secret_key(self) -> str:
        """The secret API key of the new kind; no JWT."""
        return self._keys["secret_key"]

    @property
    def anon_key(self) -> str:
        """The public API key in its legacy form, a JWT."""
        return self._api_key("anon")

    @property
    def service_role_key(self) -> str:
        """The secret API key in its legacy form, a JWT; row level security does not hold it back."""
        return self._api_key("service_role")

    @property
    def webhook_secret(self) -> str:
        """Signs the simulator's webhooks."""
        return self._keys["webhook_secret"]

    @property
    def env(self) -> dict[str, str]:
        """What the workers and the avenue command need in their environment; the SUPABASE_ ones are for clients."""
        return {
            "AVENUE_DATABASE_URL": self.cluster.url(self.database, "avenue_worker"),
            "AVENUE_ADMIN_DATABASE_URL": self.cluster.url(self.database),
            "AVENUE_SUPABASE_URL": self.url,
            "AVENUE_PUBLIC_URL": self.url,
            "AVENUE_WORKERS_URL": self.url,
            "AVENUE_SECRET_KEY": self.secret_key,
            "AVENUE_JWKS_URL": f"{self.url}/auth/v1/.well-known/jwks.json",
            "AVENUE_JWT_SECRET": self.jwt_secret,
            "AVENUE_STRIPE_SECRET_KEY": self._keys["stripe_secret_key"],
            "AVENUE_STRIPE_WEBHOOK_SECRETS": self.webhook_secret,
            "AVENUE_STRIPE_API_BASE": self.simulator_url,
            # Where an application is developed, and the one of the examples.
            "AVENUE_REDIRECT_ORIGINS": "http://127.0.0.1:3000,http://localhost:3000,https://shop.example",
            **self._studio_env,
            "AVENUE_SMTP_URL": f"smtp://127.0.0.1:{self._port('mail')}",
            "AVENUE_MAIL_FROM": MAIL_FROM,
            "AVENUE_HTTP_HOST": "127.0.0.1",
            "AVENUE_HTTP_PORT": str(self._port("http")),
            "AVENUE_METRICS_PORT": str(self._port("jobs")),
            "SUPABASE_URL": self.url,
            "SUPABASE_PUBLISHABLE_KEY": self.publishable_key,
            "SUPABASE_SECRET_KEY": self.secret_key,
            "SUPABASE_ANON_KEY": self.anon_key,
            "SUPABASE_SERVICE_ROLE_KEY": self.service_role_key,
            **self._extra_env,
        }

    @property
    def _studio_env(self) -> dict[str, str]:
        if STUDIO not in self.parts:
            return {}
        return {
            "AVENUE_STUDIO_PROVIDER": "http",
            "AVENUE_STUDIO_API_BASE": self.studio_url,
            "AVENUE_STUDIO_API_TOKEN": self._keys["studio_token"],
            "AVENUE_STUDIO_WEBHOOK_SECRETS": self._keys["studio_webhook_secret"],
            "AVENUE_STUDIO_VERSION": "avenue/simulator",
        }

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self, parts: Iterable[str] | None = None) -> None:
        """Start the parts (all by default) that do not run yet and wait until each is ready.

        Raises StackError, naming the part, the reason and its log, when one does not come up; what was started then is
        stopped again.
        """
        wanted = [part for part in (STUDIO, *PARTS) if part in (parts or self.parts) and not self.running(part)]
        for attempt in range(3):
            try:
                self._choose_ports()
                self._launch([part for part in wanted if not self.running(part)])
                return
            except StackError:
                self._stop_parts(wanted)
                # Somebody took a port between choosing and listening: choose again, unless it was asked for. What a
                # part says of it is not always recognisable.
                taken = [port for name, port in self._ports().items() if not self._may_listen(name, port)]
                if not taken or self._forced_port in taken or attempt == 2:
                    raise
            except BaseException:
                self._stop_parts(wanted)
                raise

    def stop(self) -> None:
        """Stop everything this directory's Services ever started, crashed parts' leftovers included."""
        self._stop_parts((STUDIO, *PARTS))

    def restart(self, part: str) -> None:
        """Stop one part and start it on the same port."""
        self._stop_parts([part])
        self._launch([part])

    def kill(self, part: str) -> None:
        """SIGKILL one part and its children."""
        record = self.record(part)
        processes = record.processes() if record else []
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(processes, timeout=10)
        if child := self._children.pop(part, None):
            child.wait(10)

    def running(self, part: str) -> bool:
        """Whether this part's process is alive."""
        record = self._records().get(part)
        return record is not None and record.alive

    def record(self, part: str) -> Running | None:
        """What was last started as this part and has not been stopped since; it may have died."""
        return self._records().get(part)

    def moved(self) -> bool:
        """Whether the gateway runs on another port than the one asked for, so that all addresses change."""
        return bool(self._forced_port) and self.running("gateway") and self.port != self._forced_port

    def log(self, part: str) -> Path:
        """The part's log file."""
        return self.logs / f"{part}.log"

    def reason(self, part: str, offset: int = 0) -> str:
        """The most telling line of a part's log (from a byte on), and where the log is."""
        log = self.log(part)
        fresh = log.read_bytes()[offset:].decode(errors="replace") if log.exists() else ""
        return f"{telling_line(fresh, REASONS)[:300] or 'no output'} (log: {log})"

    def install_jobs(self) -> None:
        """Create the queue's tables (`avenue jobs install`); after the migrations, before the workers."""
        self._choose_ports()
        command = [sys.executable, "-m", "workers.cli", "jobs", "install"]
        env = {**os.environ, **self.env}
        done = subprocess.run(command, cwd=REPO, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        log = self.log("jobs-install")
        log.write_bytes(done.stdout + done.stderr)
        if done.returncode:
            reason = telling_line(log.read_text(errors="replace"), REASONS)
            raise StackError(f"installing the job queue failed: {reason} (log: {log})")

    # -- parts --------------------------------------------------------------------------------------------------------

    def _part(self, name: str) -> Part:
        return getattr(self, f"_part_{name}")()

    def _part_auth(self) -> Part:
        port = self._port("auth")
        env = {
            "AUTH_DATABASE_URL": self.cluster.url(self.database, "supabase_auth_admin"),
            "STORAGE_DATABASE_URL": self.cluster.url(self.database, "supabase_storage_admin"),
            "JWT_SECRET": self.jwt_secret,
            "SIGNING_KEYS": json.dumps(self.signing_keys),
            "PUBLIC_URL": self.url,
            "STORAGE_DIR": str(self.root / "files"),
            "SMTP_PORT": str(self._port("mail")),
            "MAIL_FROM": MAIL_FROM,
            "REST_URL": self.rest_url,
            "PORT": str(port),
        }
        return Part(["node", str(REPO / "stack/auth/server.mjs")], env, _answers(port, "/healthz"))

    def _part_rest(self) -> Part:
        admin_port = self._port("rest_admin")
        env = {
            "PGRST_DB_URI": self.cluster.url(self.database, "authenticator"),
            "PGRST_DB_SCHEMAS": "public",
            "PGRST_DB_EXTRA_SEARCH_PATH": "public,extensions",
            "PGRST_DB_ANON_ROLE": "anon",
            "PGRST_DB_POOL": "10",
            "PGRST_DB_POOL_ACQUISITION_TIMEOUT": "10",
            "PGRST_DB_MAX_ROWS": "1000",
            "PGRST_JWT_SECRET": json.dumps({"keys": self._verification_keys()}),
            "PGRST_LOG_LEVEL": "warn",
            "PGRST_OPENAPI_SERVER_PROXY_URI": f"{self.url}/rest/v1",
            "PGRST_SERVER_HOST": "127.0.0.1",
            "PGRST_SERVER_PORT": str(self._port("rest")),
            "PGRST_ADMIN_SERVER_PORT": str(admin_port),
        }
        return Part([str(_binary("postgrest"))], env, _answers(admin_port, "/ready"))

    def _part_simulator(self) -> Part:
        port = self._port("simulator")
        command = [sys.executable, "-m", "stack.simulator", "--port", str(port)]
        command += ["--state", str(self.root / "simulator.json"), "--webhook-url", f"{self.url}/webhooks/stripe"]
        command += ["--webhook-secret", self.webhook_secret]
        return Part(command, {}, _listens(port))

    def _part_studio(self) -> Part:
        port = self._port(STUDIO)
        command = [sys.executable, "-m", "stack.simulator.studio", "--port", str(port)]
        command += ["--state", str(self.root / "studio.sqlite"), "--token", self._keys["studio_token"]]
        command += ["--webhook-secret", self._keys["studio_webhook_secret"]]
        return Part(command, {}, _answers(port, "/_sim/config"))

    def _part_mail(self) -> Part:
        port = self._port("mail")
        command = [sys.executable, "-m", "stack.outbox", "--port", str(port), "--directory", str(self.outbox)]
        return Part(command, {}, _accepts(port))

    def _part_http(self) -> Part:
        command = [sys.executable, "-m", "workers.cli", "serve"]
        return Part(command, self.env, _answers(self._port("http"), "/readyz"))

    def _part_jobs(self) -> Part:
        command = [sys.executable, "-m", "workers.cli", "work"]
        # A process killed earlier leaves its registration behind, so only a heartbeat from now on counts.
        query = "select exists (select from jobs.procrastinate_workers where last_heartbeat > %s)"
        with self.cluster.connect(self.database) as admin:
            now = admin.execute("select clock_timestamp()").fetchone()
        answers = _answers(self._port("jobs"), "/readyz")

        def ready() -> bool:
            if not answers():
                return False
            with self.cluster.connect(self.database) as admin:
                return admin.execute(query, now).fetchone() == (True,)

        return Part(command, self.env, ready)

    def _part_gateway(self) -> Part:
        template = string.Template((REPO / "stack/nginx.conf").read_text())
        names = {name: self._port(name) for name in ("auth", "rest", "http")}
        conf = self.root / "nginx.conf"
        conf.touch(mode=0o600)
        keys = {
            "publishable_key": self.publishable_key,
            "secret_key": self.secret_key,
            "anon_token": self.anon_key,
            "service_token": self.service_role_key,
        }
        conf.write_text(template.substitute(names, port=self.port, **keys))
        command = [str(_binary("nginx")), "-p", str(self.root), "-c", str(conf), "-e", str(self.log("gateway"))]
        return Part(command, {}, _answers(self.port, "/healthz"))

    # -- inside -------------------------------------------------------------------------------------------------------

    def _launch(self, parts: list[str]) -> None:
        waiting: dict[str, tuple[subprocess.Popen[bytes], Part, int]] = {}
        for name in parts:
            if name == "gateway" and not port_is_free(self.port):
                raise StackError(f"gateway: port {self.port} is already in use{_user_of(self.port)}")
            part = self._part(name)
            log = self.log(name)
            offset = log.stat().st_size if log.exists() else 0
            with log.open("ab") as output:
                try:
                    process = subprocess.Popen(
                        part.command,
                        cwd=REPO,
                        env={**os.environ, "PYTHONUNBUFFERED": "1", **part.env},
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                except OSError as error:
                    raise StackError(f"{name}: cannot run {part.command[0]}: {error.strerror}") from error
            self._children[name] = process
            self._record(name, process)
            waiting[name] = (process, part, offset)
        deadline = time.monotonic() + START_SECONDS
        while waiting:
            for name, (process, part, offset) in list(waiting.items()):
                if process.poll() is not None:
                    raise StackError(f"{name} stopped while starting: {self.reason(name, offset)}")
                if part.ready():
                    del waiting[name]
                elif time.monotonic() > deadline:
                    raise StackError(f"{name} was not ready after {START_SECONDS} s: {self.reason(name, offset)}")
            if waiting:
                time.sleep(0.05)

    def _stop_parts(self, parts: Iterable[str]) -> None:
        records = self._records()
        groups = {part: records[part].processes() for part in parts if part in records}
        processes = [process for group in groups.values() for process in group]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        for process in psutil.wait_procs(processes, timeout=10)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=10)
        for part in parts:
            records.pop(part, None)
            if child := self._children.pop(part, None):
                child.wait(10)
        self._write_records(records)

    def _records(self) -> dict[str, Running]:
        try:
            stored = json.loads((self.root / "processes.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return {name: Running(**record) for name, record in stored.items()}

    def _write_records(self, records: dict[str, Running]) -> None:
        _write(self.root / "processes.json", {name: vars(record) for name, record in records.items()})

    def _record(self, part: str, process: subprocess.Popen[bytes]) -> None:
        started = time.time()
        with contextlib.suppress(psutil.Error):
            started = psutil.Process(process.pid).create_time()
        record = Running(process.pid, started, self._port(part))
        self._write_records({**self._records(), part: record})

    def _port(self, name: str) -> int:
        if name not in self._ports():
            # The directory is from before this part existed.
            self._choose_ports()
        return self._ports()[name]

    def _ports(self) -> dict[str, int]:
        try:
            return json.loads((self.root / "ports.json").read_text())
        except FileNotFoundError:
            self._choose_ports()
            return self._ports()

    def _write_ports(self, ports: dict[str, int]) -> None:
        _write(self.root / "ports.json", ports)

    def _choose_ports(self) -> None:
        """A port for each part: the one it has while it runs or the port is still free, else a new one; all differ."""
        path = self.root / "ports.json"
        known: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        ports: dict[str, int] = {}
        for name in ("gateway", "auth", "rest", "rest_admin", "simulator", "mail", "http", "jobs", STUDIO):
            port = known.get(name)
            if name == "gateway" and self._forced_port and not self.running(name):
                ports[name] = self._forced_port
                continue
            while port is None or port in ports.values() or not self._may_listen(name, port):
                port = free_port(self._first_port if name == "gateway" else None)
            ports[name] = port
        self._write_ports(ports)

    def _may_listen(self, name: str, port: int) -> bool:
        """Whether a port is the part's already, or nobody's."""
        return self.running("rest" if name == "rest_admin" else name) or port_is_free(port)

    def _load_keys(self) -> dict[str, Any]:
        path = self.root / "keys.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        keys = {
            "jwt_secret": secrets.token_urlsafe(48),
            "signing_keys": [_signing_key()],
            "publishable_key": f"sb_publishable_{secrets.token_urlsafe(24)}",
            "secret_key": f"sb_secret_{secrets.token_urlsafe(24)}",
            "webhook_secret": f"whsec_{secrets.token_urlsafe(24)}",
            "studio_webhook_secret": f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}",
            "studio_token": f"r8_{secrets.token_hex(16)}",
            "stripe_secret_key": f"sk_test_{secrets.token_hex(16)}",
            "issued_at": int(time.time()),
            **known,
        }
        if keys.keys() != known.keys():
            _write(path, keys)
        return keys

    def rotate_signing_key(self) -> None:
        """Sign people's tokens with a new key from now on; those of the keys before stay valid."""
        self._keys["signing_keys"].insert(0, _signing_key())
        _write(self.root / "keys.json", self._keys)
        for part in ("rest", "auth"):
            if self.running(part):
                self.restart(part)

    def _verification_keys(self) -> list[dict[str, str]]:
        """What PostgREST checks tokens with: the public signing keys, and the legacy secret."""
        public = [{name: value for name, value in key.items() if name != "d"} for key in self.signing_keys]
        secret = base64.urlsafe_b64encode(self.jwt_secret.encode()).decode().rstrip("=")
        return [*public, {"kty": "oct", "alg": "HS256", "k": secret}]

    def _api_key(self, role: str) -> str:
        issued = self._keys["issued_at"]
        claims = {"iss": "supabase", "role": role, "iat": issued, "exp": issued + 10 * 365 * 24 * 3600}
        return jwt.encode(claims, self.jwt_secret, algorithm="HS256")


def _signing_key() -> dict[str, str]:
    """A new private key of the kind hosted projects sign with, as a JWK."""
    key = jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
    return {**key, "kid": str(uuid.uuid4()), "alg": "ES256", "use": "sig"}


def _answers(port: int, path: str) -> Callable[[], bool]:
    """Ready when GET answers 200."""

    def ready() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    return ready


def _accepts(port: int) -> Callable[[], bool]:
    """Ready when a connection is accepted."""

    def ready() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            return False
        return True

    return ready


def _listens(port: int) -> Callable[[], bool]:
    """Ready when any HTTP answer comes."""

    def ready() -> bool:
        try:
            httpx.get(f"http://127.0.0.1:{port}/", timeout=5)
        except httpx.HTTPError:
            return False
        return True

    return ready


def _binary(name: str) -> Path:
    """A server binary from node_modules; AVENUE_NGINX and AVENUE_POSTGREST or the PATH on platforms npm lacks."""
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine())
    packaged = REPO / f"node_modules/{name}-dist-{platform.system().lower()}-{machine}/{name}"
    chosen = os.environ.get(f"AVENUE_{name.upper()}") or (packaged if packaged.exists() else shutil.which(name))
    if not chosen:
        raise StackError(f"no {name} for this platform; install it or set AVENUE_{name.upper()} to its path")
    return Path(chosen)


def _user_of(port: int) -> str:
    """Who listens on a port, as far as we may know."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp4"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""


def _write(path: Path, value: Any) -> None:
    """Replace a JSON file in one step; only its owner may read it."""
    partial = path.with_suffix(f".{os.getpid()}")
    partial.touch(mode=0o600)
    partial.write_text(json.dumps(value, indent=1))
    partial.replace(path)
