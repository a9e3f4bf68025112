"""The clients that may enter, with files of our own making and strangers on real sockets."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
import zmq.auth

from torchwire_worker import keys
from torchwire_worker.keys import KeysError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file modes")


class Pair:
    def __init__(self) -> None:
        public, secret = zmq.curve_keypair()
        self.public, self.secret = public.decode(), secret.decode()


def half(client: Pair, server: Pair, name: str = "me@laptop", secret: bool = True) -> list[str]:
    line = {
        "torchwire": "authorize",
        "client": {"name": name, "public": client.public},
        "server": {"public": server.public, **({"secret": server.secret} if secret else {})},
    }
    return [json.dumps(line) + "\n"]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "deep" / "keys")


@pytest.fixture
def server() -> Pair:
    return Pair()


@pytest.fixture
def client() -> Pair:
    return Pair()


def mode(*path: str) -> int:
    return os.stat(os.path.join(*path)).st_mode & 0o777


def everything(folder: str) -> dict[str, str]:
    return {str(path): path.read_text() for path in Path(folder).rglob("*") if path.is_file()}


def refused(act: object, *what: str) -> KeysError:
    assert callable(act)
    with pytest.raises(KeysError) as caught:
        act()
    for each in what:
        assert each in f"{caught.value}\n{caught.value.command}"
    return caught.value


class TestAuthorize:
    def test_writes_files_that_zeromq_reads_and_nobody_else(
        self, folder: str, server: Pair, client: Pair, capsys: pytest.CaptureFixture[str]
    ) -> None:
        old = os.umask(0)
        try:
            keys.authorize(folder, half(client, server))
        finally:
            os.umask(old)
        assert mode(folder) == mode(folder, "authorized_clients") == 0o700
        assert mode(folder, "server.key_secret") == mode(folder, "authorized_clients", "me@laptop.key") == 0o600
        assert len(everything(folder)) == 2
        assert zmq.auth.load_certificate(os.path.join(folder, "server.key_secret")) == (
            server.public.encode(),
            server.secret.encode(),
        )
        assert zmq.auth.load_certificates(os.path.join(folder, "authorized_clients")) == {client.public.encode(): True}
        said = capsys.readouterr().out
        assert keys.fingerprint(server.public) in said
        assert keys.fingerprint(client.public) in said
        assert server.secret not in said
        loaded = keys.load(folder)
        assert (loaded.public, loaded.secret, loaded.fingerprint) == (
            server.public,
            server.secret,
            keys.fingerprint(server.public),
        )
        assert loaded.clients() == {"me@laptop": keys.fingerprint(client.public)}
        assert server.secret not in repr(loaded)

    def test_again_changes_nothing_and_a_second_client_joins(self, folder: str, server: Pair, client: Pair) -> None:
        keys.authorize(folder, half(client, server))
        before = everything(folder)
        keys.authorize(folder, half(client, server))
        assert everything(folder) == before
        other = Pair()
        keys.authorize(folder, half(other, server, "you@desk", secret=False))
        loaded = keys.load(folder)
        assert loaded.name_of(client.public) == "me@laptop"
        assert loaded.name_of(other.public) == "you@desk"
        assert loaded.name_of(server.public) is None

    def test_never_overwrites_another_key_without_force(self, folder: str, server: Pair, client: Pair) -> None:
        keys.authorize(folder, half(client, server))
        before = everything(folder)
        other = Pair()
        refused(
            lambda: keys.authorize(folder, half(client, other)),
            keys.fingerprint(server.public),
            keys.fingerprint(other.public),
            "--force",
        )
        refused(
            lambda: keys.authorize(folder, half(other, server)),
            keys.fingerprint(client.public),
            keys.fingerprint(other.public),
            "--force",
        )
        assert everything(folder) == before
        keys.authorize(folder, half(other, other), force=True)
        loaded = keys.load(folder)
        assert loaded.public == other.public
        assert loaded.name_of(client.public) is None
        assert len(everything(folder)) == 2

    def test_of_a_client_that_knows_another_server_says_what_makes_the_right_one(
        self, folder: str, server: Pair, client: Pair
    ) -> None:
        refused(
            lambda: keys.authorize(folder, half(client, server, secret=False)), "no key yet", "npx torchwire keygen"
        )
        assert not os.path.exists(folder)
        keys.authorize(folder, half(client, server))
        refused(
            lambda: keys.authorize(folder, half(client, Pair(), secret=False), force=True),
            f"--server-key='{server.public}'",
        )

    @pytest.mark.parametrize(
        "name",
        ["../../etc/cron.d/x", "..", "a/b", ".hidden", "-rf", "", "a\nb", "a" * 129, "é"],
    )
    def test_takes_no_name_that_leads_elsewhere(self, folder: str, server: Pair, client: Pair, name: str) -> None:
        refused(lambda: keys.authorize(folder, half(client, server, name)), "the client's name")
        assert not os.path.exists(folder)

    def test_says_what_is_wrong_with_its_input_and_shows_no_secret(
        self, folder: str, server: Pair, client: Pair
    ) -> None:
        whole = half(client, server)[0]
        refused(lambda: keys.authorize(folder, []), "nothing came", "npx torchwire keygen NAME")
        for text in (
            "{}",
            "ssh: no route to host",
            whole[:-9],
            whole.replace(client.public, "x"),
            whole.replace('"name"', '"nome"'),
            whole + whole,
        ):
            error = refused(lambda text=text: keys.authorize(folder, [text]), "not the line that keygen prints")
            assert server.secret not in str(error)
        # These five digits say more than four bytes hold.
        refused(lambda: keys.authorize(folder, [whole.replace(client.public, "#" * 40)]))
        refused(lambda: keys.authorize(folder, [whole.replace(server.secret, Pair().secret)]), "not a pair")
        assert not os.path.exists(folder)


class TestLoad:
    def test_without_keys_says_which_commands_make_them(self, folder: str, server: Pair, client: Pair) -> None:
        command = f"npx torchwire keygen NAME | ssh HOST torchwire-worker authorize --keys {folder}"
        assert refused(lambda: keys.load(folder), "there is no folder").command == command
        os.makedirs(folder, 0o700)
        assert refused(lambda: keys.load(folder), "has no server.key_secret").command == command
        keys.authorize(folder, half(client, server))
        os.unlink(os.path.join(folder, "authorized_clients", "me@laptop.key"))
        assert refused(lambda: keys.load(folder), "is empty: nobody may enter").command == command
        os.rmdir(os.path.join(folder, "authorized_clients"))
        assert refused(lambda: keys.load(folder), "is empty: nobody may enter").command == command

    @pytest.mark.parametrize(
        ("path", "open_mode", "command"),
        [
            ("", 0o777, "chmod 700 "),
            ("", 0o720, "chmod 700 "),
            ("authorized_clients", 0o770, "chmod 700 "),
            ("server.key_secret", 0o640, "chmod 600 "),
            ("server.key_secret", 0o604, "chmod 600 "),
        ],
    )
    def test_refuses_what_others_can_get_at(
        self, folder: str, server: Pair, client: Pair, path: str, open_mode: int, command: str
    ) -> None:
        keys.authorize(folder, half(client, server))
        keys.load(folder)
        path = os.path.join(folder, path) if path else folder
        os.chmod(path, open_mode)
        assert refused(lambda: keys.load(folder), f"mode {open_mode:04o}").command == command + path

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="it needs root, to give files away")
    @pytest.mark.parametrize("path", ["", "authorized_clients", "server.key_secret"])
    def test_refuses_what_belongs_to_another_user(self, folder: str, server: Pair, client: Pair, path: str) -> None:
        keys.authorize(folder, half(client, server))
        os.chown(os.path.join(folder, path), 65534, -1)
        refused(lambda: keys.load(folder), "belongs to another user", "chown 0 ")

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="it needs root, whose files these are")
    def test_takes_a_mounted_secret_that_is_roots_and_this_groups(
        self, folder: str, server: Pair, client: Pair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys.authorize(folder, half(client, server))
        secret = os.path.join(folder, "server.key_secret")
        monkeypatch.setattr(os, "getuid", lambda: 10_001)
        for mode, fits in ((0o440, True), (0o400, True), (0o444, False), (0o660, False)):
            os.chmod(secret, mode)
            if fits:
                keys.load(folder)
            else:
                refused(lambda: keys.load(folder), f"mode {mode:04o}", "chmod 440 ")

    def test_refuses_keys_that_are_broken(self, folder: str, server: Pair, client: Pair) -> None:
        keys.authorize(folder, half(client, server))
        secret = Path(folder, "server.key_secret")
        good = secret.read_text()
        for bad in (
            "",
            good.replace(server.secret, Pair().secret),
            good.replace(server.secret, "short"),
            good.split("secret-key")[0],
        ):
            secret.write_text(bad)
            assert server.secret not in str(refused(lambda: keys.load(folder), str(secret)))
        secret.write_text(good)
        keys.load(folder)
        broken = Path(folder, "authorized_clients", "broken.key")
        broken.write_text("curve\n")
        refused(lambda: keys.load(folder), str(broken))

    @pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0, reason="it needs root, to be somebody else for a while"
    )
    def test_that_this_user_may_not_read_is_not_taken_for_missing(
        self, folder: str, server: Pair, client: Pair
    ) -> None:
        keys.authorize(folder, half(client, server))
        os.seteuid(65534)
        try:
            refused(lambda: keys.load(folder), "cannot be looked into by uid ", "Permission denied")
            refused(
                lambda: keys.authorize(folder, half(client, server)), "cannot be written by uid ", "Permission denied"
            )
        finally:
            os.seteuid(0)

    def test_takes_only_files_named_as_keys_and_a_broken_one_shuts_nobody_out(
        self, folder: str, server: Pair, client: Pair
    ) -> None:
        keys.authorize(folder, half(client, server))
        loaded = keys.load(folder)
        clients = Path(folder, "authorized_clients")
        # It is the first in the alphabet.
        (clients / "a.key").write_text("nothing of use")
        (clients / "b.key").mkdir()
        (clients / "c.key").symlink_to("nowhere")
        other = Pair()
        for name in ("other.key~", ".other.key", "other.txt"):
            (clients / name).write_text(f'curve\n    public-key = "{other.public}"\n')
        assert loaded.name_of(client.public) == "me@laptop"
        assert loaded.name_of(other.public) is None


as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="it needs root, to be two users")
STRANGER = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user reaches. (pytest's own folders are for one.)"""
    path = Path(tempfile.mkdtemp(prefix="torchwire-keys-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def by_stranger(*command: str) -> None:
    subprocess.run(["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups", *command], check=True)


class TestWhoMayWrite:
    """The list counts only if nobody but this user and root can write it."""

    def refuses(self, folder: str, server: Pair, name: str, path: str, open_mode: int, command: str) -> None:
        error = refused(lambda: keys.load(folder), path, f"mode {open_mode:04o}")
        assert error.command == command
        assert name in str(error)

    @as_root
    @pytest.mark.parametrize("by", ["mode", "link", "folder", "link into a folder", "owner", "above"])
    def test_a_second_user_who_can_change_a_key_file_gets_nobody_in(
        self, open_folder: Path, server: Pair, client: Pair, by: str
    ) -> None:
        folder = open_folder / "above" / "keys"
        keys.authorize(str(folder), half(client, server))
        loaded = keys.load(str(folder))
        for each in (open_folder / "above", folder, folder / "authorized_clients"):
            each.chmod(0o755)
        file = folder / "authorized_clients" / "me@laptop.key"
        elsewhere = open_folder / "elsewhere"
        elsewhere.mkdir()
        thief = Pair()
        theirs = f'curve\n    public-key = "{thief.public}"\n'
        target = file
        if by == "mode":
            file.chmod(0o666)
        elif by == "owner":
            os.chown(file, STRANGER, -1)
        elif by == "folder":
            file.parent.chmod(0o777)
        elif by == "above":
            (open_folder / "above").chmod(0o777)
        elif by == "link":
            os.chown(elsewhere, STRANGER, -1)
            target = elsewhere / "shared.key"
            by_stranger("cp", "--no-preserve=mode", "/dev/null", str(target))
            file.unlink()
            file.symlink_to(target)
        else:
            elsewhere.chmod(0o777)
            target = elsewhere / "ours.key"
            file.rename(target)
            file.symlink_to("../../../elsewhere/ours.key")
        if by == "above":
            by_stranger(
                "sh", "-c", f"mv {folder} {folder}.old && mkdir -p {file.parent} && printf '%s' '{theirs}' > {file}"
            )
        elif by in ("folder", "link into a folder"):
            by_stranger("sh", "-c", f"rm -f {target} && printf '%s' '{theirs}' > {target}")
        else:
            by_stranger("sh", "-c", f"printf '%s' '{theirs}' > {target}")
        # The stranger did write it.
        assert thief.public in (folder / "authorized_clients" / "me@laptop.key").read_text()
        assert loaded.name_of(thief.public) is None
        error = refused(lambda: keys.load(str(folder)), "let anybody in")
        # A folder must not be taken from its owner.
        assert (error.command is None) is (by == "link")
        assert error.command is None or re.match(r"(chmod|chown) ", error.command)

    @pytest.mark.parametrize(
        ("path", "open_mode", "command"),
        [
            ("", 0o1777, "chmod 700 "),
            ("authorized_clients", 0o1777, "chmod 700 "),
            ("authorized_clients", 0o707, "chmod 700 "),
            ("authorized_clients/me@laptop.key", 0o666, "chmod 600 "),
            ("authorized_clients/me@laptop.key", 0o620, "chmod 600 "),
            ("..", 0o777, "chmod go-w "),
            ("..", 0o775, "chmod go-w "),
        ],
    )
    def test_refuses_what_others_can_write(
        self, folder: str, server: Pair, client: Pair, path: str, open_mode: int, command: str
    ) -> None:
        keys.authorize(folder, half(client, server))
        loaded = keys.load(folder)
        path = os.path.normpath(os.path.join(folder, path))
        os.chmod(path, open_mode)
        assert refused(lambda: keys.load(folder), f"mode {open_mode:04o}", path).command == command + path
        assert loaded.name_of(client.public) is None
        os.chmod(path, 0o700)
        assert loaded.name_of(client.public) == "me@laptop"

    def test_says_once_why_a_key_lets_nobody_in_and_the_others_do(
        self, folder: str, server: Pair, client: Pair, caplog: pytest.LogCaptureFixture
    ) -> None:
        keys.authorize(folder, half(client, server))
        other = Pair()
        keys.authorize(folder, half(other, server, "you@desk", secret=False))
        loaded = keys.load(folder)
        file = os.path.join(folder, "authorized_clients", "me@laptop.key")
        os.chmod(file, 0o666)
        for _ in range(3):
            assert loaded.name_of(client.public) is None
            assert loaded.name_of(other.public) == "you@desk"
        (message,) = caplog.messages
        assert message.endswith(f"Run: chmod 600 {file}")
        refused(
            lambda: keys.authorize(folder, half(client, server, "new@laptop", secret=False)) or keys.load(folder), file
        )

    def test_authorizes_nobody_where_others_can_write(self, folder: str, server: Pair, client: Pair) -> None:
        above = os.path.dirname(folder)
        os.makedirs(above)
        os.chmod(above, 0o777)
        assert refused(lambda: keys.authorize(folder, half(client, server))).command == f"chmod go-w {above}"
        assert everything(folder) == {}

    def test_a_pipe_in_the_place_of_a_key_is_not_waited_for(self, folder: str, server: Pair, client: Pair) -> None:
        keys.authorize(folder, half(client, server))
        loaded = keys.load(folder)
        os.mkfifo(os.path.join(folder, "authorized_clients", "a.key"), 0o600)
        assert loaded.name_of(client.public) == "me@laptop"
        refused(lambda: keys.load(folder), "a.key cannot be read as a key", "it is no file")

    def test_links_that_lead_in_circles_are_an_error(self, folder: str, server: Pair, client: Pair) -> None:
        keys.authorize(folder, half(client, server))
        Path(folder, "authorized_clients", "a.key").symlink_to("b.key")
        Path(folder, "authorized_clients", "b.key").symlink_to("a.key")
        refused(lambda: keys.load(folder), "a.key cannot be read as a key")

    @as_root
    def test_takes_a_mounted_secret_as_kubernetes_makes_it(self, open_folder: Path, server: Pair, client: Pair) -> None:
        plain = open_folder / "plain"
        keys.authorize(str(plain), half(client, server))
        mount, version = open_folder / "keys", "..2030_01_01_00_00_00.1"
        mount.mkdir()
        # The folder is open to all, its files are links, and nothing can be written.
        script = f"""
            set -e
            mount -t tmpfs -o mode=1777 tmpfs {mount}
            mkdir -p {mount}/{version}/authorized_clients
            cp {plain}/server.key_secret {mount}/{version}
            cp {plain}/authorized_clients/me@laptop.key {mount}/{version}/authorized_clients
            chgrp -R 1000 {mount}
            chmod 2777 {mount}/{version}
            chmod 440 {mount}/{version}/server.key_secret
            chmod $1 {mount}/{version}/authorized_clients/me@laptop.key
            ln -s {version} {mount}/..data
            ln -s ..data/server.key_secret ..data/authorized_clients {mount}
            [ "$2" = rw ] || mount -o remount,ro {mount}
            exec "$3" -c "
import os, sys
sys.path[:0] = sys.argv[2:]
from torchwire_worker import keys
os.setgroups([1000]), os.setgid(1000), os.setuid(1000)
print(keys.load(sys.argv[1]).name_of('$4'))" {mount} {Path(keys.__file__).parents[1]}
        """
        if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
            pytest.skip("it needs a mount of its own")
        for mode, how, expected in (
            ("440", "ro", "me@laptop"),
            ("644", "ro", "me@laptop"),
            ("444", "ro", "me@laptop"),
            ("444", "rw", None),
        ):
            command = ["unshare", "--mount", "sh", "-c", script, "sh", mode, how, sys.executable, client.public]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            if expected is None:
                assert "others can write into" in ended.stderr
            else:
                assert (ended.stdout, ended.stderr) == (expected + "\n", "")


def test_the_fingerprint_is_the_one_that_the_client_shows() -> None:
    # test/bridge/keys/keys.test.ts has the same.
    assert (
        keys.fingerprint("Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID")
        == "SHA256:67OvTdmc7/Nun5C12z5FDkr9NWhEMfqfDsnuWvXD6MM"
    )


class Door:
    """A ROUTER that answers each message with its sender."""

    def __init__(self, server_keys: keys.ServerKeys) -> None:
        self.context = zmq.Context()
        self.guard = server_keys.guard(self.context)
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.linger = 0
        server_keys.configure(self.socket)
        self.socket.bind("tcp://127.0.0.1:*")
        self.address = self.socket.last_endpoint.rstrip(b"\0").decode()
        self.over = threading.Event()

        def answer() -> None:
            while not self.over.is_set():
                if self.socket.poll(50):
                    parts = self.socket.recv_multipart(copy=False)
                    named = [self.name(server_keys, part) for part in parts]
                    self.socket.send_multipart([parts[0].bytes, json.dumps(named).encode()])

        self.thread = threading.Thread(target=answer)
        self.thread.start()

    @staticmethod
    def name(server_keys: keys.ServerKeys, frame: zmq.Frame) -> str | None:
        try:
            return server_keys.name_of(str(frame.get("User-Id")))
        except zmq.ZMQError:
            return "nobody asked who this is"

    def ask(self, client: Pair | None, server_key: str | None, wait: int = 300) -> list[str | None] | None:
        """Return the client that the door takes this for, or None: it does not answer."""
        with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
            socket.linger = 0
            if client is not None:
                assert server_key is not None
                socket.curve_publickey, socket.curve_secretkey = client.public.encode(), client.secret.encode()
                socket.curve_serverkey = server_key.encode()
            socket.connect(self.address)
            socket.send(b"who am I")
            return json.loads(socket.recv()) if socket.poll(wait) else None

    def close(self) -> None:
        self.over.set()
        self.thread.join()
        self.socket.close()
        self.guard.stop()
        self.context.term()


@pytest.fixture
def door(folder: str, server: Pair, client: Pair) -> Iterator[Door]:
    keys.authorize(folder, half(client, server))
    door = Door(keys.load(folder))
    yield door
    door.close()


class TestDoor:
    def test_knows_the_client_by_name_on_every_frame(self, door: Door, server: Pair, client: Pair) -> None:
        assert door.ask(client, server.public, 5000) == ["me@laptop", "me@laptop"]

    def test_lets_no_stranger_in(self, door: Door, server: Pair, client: Pair) -> None:
        assert door.ask(None, None) is None
        assert door.ask(Pair(), server.public) is None
        assert door.ask(client, Pair().public) is None
        # Anybody can have a public key without its secret.
        thief = Pair()
        thief.public = client.public
        assert door.ask(thief, server.public) is None
        assert door.ask(server, server.public) is None
        assert door.ask(client, server.public, 5000) is not None

    def test_whose_file_is_removed_is_out_and_back_with_it(
        self, door: Door, folder: str, server: Pair, client: Pair
    ) -> None:
        path = Path(folder, "authorized_clients", "me@laptop.key")
        path.rename(path.with_suffix(".revoked"))
        assert door.ask(client, server.public) is None
        path.with_suffix(".revoked").rename(path)
        assert door.ask(client, server.public, 5000) is not None

    def test_a_list_that_cannot_be_read_lets_nobody_in_and_the_door_goes_on(
        self, door: Door, server: Pair, client: Pair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("the disk is gone")

        with monkeypatch.context() as broken:
            broken.setattr(keys, "_files", fail)
            assert door.ask(client, server.public) is None
        assert door.ask(client, server.public, 5000) is not None

    def test_serves_the_honest_amid_a_hundred_strangers(self, door: Door, server: Pair, client: Pair) -> None:
        with zmq.Context() as context:
            strangers = [context.socket(zmq.DEALER) for _ in range(100)]
            for i, socket in enumerate(strangers):
                socket.linger = 0
                if i % 3:
                    stranger = Pair()
                    socket.curve_publickey, socket.curve_secretkey = stranger.public.encode(), stranger.secret.encode()
                    socket.curve_serverkey = (server if i % 3 == 1 else stranger).public.encode()
                socket.connect(door.address)
            for _ in range(5):
                assert door.ask(client, server.public, 5000) is not None
            for socket in strangers:
                socket.close()

    @pytest.mark.skipif(not hasattr(zmq, "ZAP_ENFORCE_DOMAIN"), reason="this libzmq cannot enforce it")
    def test_is_shut_where_the_authenticator_has_gone(self, door: Door, server: Pair, client: Pair) -> None:
        door.guard.stop()
        assert door.ask(client, server.public) is None
