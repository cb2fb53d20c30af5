"""Data sets that are not on disk, fetched from a server on this machine."""

import hashlib
import io
import stat
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from recbole_ccd.cli import main
from recbole_ccd.config import CCDConfig
from recbole_ccd.data import download
from recbole_ccd.data.download import fetch_missing, known_urls
from recbole_ccd.quick_start import create_stream
from recbole_ccd.utils.errors import ConfigError, DataError
from tests.conftest import SMALL, tiny_rows

HEADER = "user_id:token\titem_id:token\ttimestamp:float"
TEXT = "\n".join([HEADER, *("\t".join(map(str, row)) for row in tiny_rows(n=900))]) + "\n"


def archive(files=None, **entries):
    """A ZIP archive of texts by name."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, text in {**({"Tiny_Set.inter": TEXT} if files is None else files), **entries}.items():
            opened.writestr(name, text)
    return content.getvalue()


class Server:
    """Serves bytes, breaks off after some of them, and keeps what was asked for.

    Attributes:
        body: what is served.
        break_at: bytes of an answer after which the connection is closed; None for none.
        ranges: whether ranges are known here.
        sized: whether the length is told.
        asked: the ranges of all requests, None for the whole.
    """

    def __init__(self, body):
        self.body, self.break_at, self.ranges, self.sized, self.asked = body, None, True, True, []
        served = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                served.answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/sets/Tiny_Set.zip"

    def answer(self, handler):
        wanted = handler.headers.get("Range")
        self.asked.append(wanted)
        if not handler.path.endswith("Tiny_Set.zip"):
            handler.send_error(404)
            return
        first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.ranges else 0
        part = self.body[first:]
        handler.send_response(206 if wanted and self.ranges else 200)
        handler.send_header("ETag", hashlib.sha256(self.body).hexdigest())
        if wanted and self.ranges:
            handler.send_header("Content-Range", f"bytes {first}-{len(self.body) - 1}/{len(self.body)}")
        if self.sized:
            handler.send_header("Content-Length", str(len(part)))
        handler.end_headers()
        try:
            handler.wfile.write(part if self.break_at is None else part[: self.break_at])
        except OSError:
            # whoever looks at the headers first does not read on
            pass
        handler.close_connection = True

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server():
    served = Server(archive())
    yield served
    served.close()


@pytest.fixture
def config_of(server, tmp_path):
    def make(dataset="tiny-set", **keys):
        settings = {**SMALL, "data_path": str(tmp_path / "data"), "dataset_url": server.url, **keys}
        return CCDConfig(dataset=dataset, config_dict=settings)

    return make


def lying_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_data_set_that_is_not_there_is_fetched_and_has_its_name(config_of, tmp_path, capsys, server):
    stream = create_stream(config_of())
    assert len(stream) == 3 and sum(len(b.train) for b in stream) > 500
    assert lying_in(tmp_path) == ["data", "data/tiny-set", "data/tiny-set/tiny-set.inter"]
    assert (tmp_path / "data" / "tiny-set" / "tiny-set.inter").read_text(encoding="utf-8") == TEXT
    shown = capsys.readouterr()
    size = f"{len(server.body) / 1e6:.1f} MB"
    assert shown.out == "" and f"tiny-set: fetching {server.url} ({size}) into " in shown.err
    # once it is there nobody is asked
    asked = len(server.asked)
    create_stream(config_of())
    assert len(server.asked) == asked


def test_names_of_recboles_list_are_known(monkeypatch, server, tmp_path):
    urls = known_urls()
    assert len(urls) > 100 and urls["ml-1m"].endswith("/ml-1m.zip")
    monkeypatch.setattr(download, "known_urls", lambda: {"listed": server.url})
    settings = {**SMALL, "data_path": str(tmp_path)}
    create_stream(CCDConfig(dataset="listed", config_dict=settings))
    assert lying_in(tmp_path) == ["listed", "listed/listed.inter"]
    with pytest.raises(DataError, match="no such folder; point data_path"):
        create_stream(CCDConfig(dataset="unlisted", config_dict=settings))


def test_what_broke_off_is_gone_on_with(config_of, tmp_path, server):
    server.break_at = 1000
    with pytest.raises(DataError, match=r"broke off after 1000 of \d+ bytes .*goes on from there"):
        fetch_missing(config_of())
    (part,) = (tmp_path / "data").iterdir()
    assert part.read_bytes() == server.body[:1000] and server.asked == [None, None]
    with pytest.raises(DataError, match="broke off after 2000 of"):
        fetch_missing(config_of())
    server.break_at = None
    fetch_missing(config_of())
    assert server.asked[-3:] == ["bytes=1000-", None, "bytes=2000-"]
    assert lying_in(tmp_path / "data") == ["tiny-set", "tiny-set/tiny-set.inter"]
    assert (tmp_path / "data" / "tiny-set" / "tiny-set.inter").read_text(encoding="utf-8") == TEXT


def test_a_server_without_ranges_sends_all_once_more(config_of, tmp_path, server):
    server.break_at = 1000
    with pytest.raises(DataError, match="broke off"):
        fetch_missing(config_of())
    server.break_at, server.ranges = None, False
    fetch_missing(config_of())
    assert (tmp_path / "data" / "tiny-set" / "tiny-set.inter").read_text(encoding="utf-8") == TEXT


def test_another_version_of_the_archive_is_not_mixed_with_the_first(config_of, tmp_path, server):
    server.break_at = 1000
    with pytest.raises(DataError, match="broke off"):
        fetch_missing(config_of())
    server.body, server.break_at = archive({"Tiny_Set.inter": TEXT.replace("u1", "w1")}), None
    fetch_missing(config_of())
    assert server.asked[-1] is None
    assert "w1\t" in (tmp_path / "data" / "tiny-set" / "tiny-set.inter").read_text(encoding="utf-8")
    assert lying_in(tmp_path / "data") == ["tiny-set", "tiny-set/tiny-set.inter"]


def test_what_was_fetched_whole_is_unpacked_without_being_fetched_again(
    config_of, monkeypatch, server, tmp_path
):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(download, "_unpack", interrupted)
        fetch_missing(config_of())
    fetch_missing(config_of())
    assert server.asked == [None, None, None]
    assert lying_in(tmp_path / "data") == ["tiny-set", "tiny-set/tiny-set.inter"]


def test_without_a_length_the_archive_tells_whether_it_is_whole(config_of, tmp_path, server):
    server.sized, server.break_at = False, 1000
    with pytest.raises(DataError, match="is no archive that can be unpacked"):
        fetch_missing(config_of())
    assert lying_in(tmp_path / "data") == []
    server.break_at = None
    fetch_missing(config_of())
    assert (tmp_path / "data" / "tiny-set" / "tiny-set.inter").is_file()


@pytest.mark.parametrize("port", ["1", "0"])
def test_without_a_network_it_is_one_line_and_nothing_is_left(config_of, tmp_path, port):
    with pytest.raises(DataError) as caught:
        fetch_missing(config_of(dataset_url=f"http://127.0.0.1:{port}/Tiny_Set.zip"))
    text = str(caught.value)
    assert "tiny-set: http://127.0.0.1" in text and "cannot be reached (" in text and "\n" not in text
    assert f"put the data set's files into {tmp_path / 'data' / 'tiny-set'} by hand" in text
    assert lying_in(tmp_path) == []


def test_a_server_that_has_nothing_is_quoted(config_of, tmp_path, server):
    with pytest.raises(DataError, match=r"cannot be fetched \(the server answers 404 Not Found\); put"):
        fetch_missing(config_of(dataset_url=server.url.replace("Tiny_Set", "other")))
    assert lying_in(tmp_path) == []


def test_only_addresses_of_the_web_are_fetched(tmp_path):
    for url in ("file:///etc/passwd", "ftp://host/x.zip", "tiny.zip", "http://a b", "http://host/\nx", 5):
        with pytest.raises(ConfigError, match="dataset_url is .*http:// or https://"):
            CCDConfig(config_dict={"dataset_url": url})


def link_entry():
    entry = zipfile.ZipInfo("Tiny_Set.user")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


UNSAFE = {
    "above": {"../outside.inter": TEXT},
    "further above": {"a/../../outside.inter": TEXT},
    "absolute": {"/tmp/outside.inter": TEXT},
    "backslashes": {"..\\outside.inter": TEXT},
    "drive": {"C:/outside.inter": TEXT},
    "link": {link_entry(): "../../outside"},
}


@pytest.mark.parametrize("name", UNSAFE)
def test_an_archive_that_leads_elsewhere_is_not_unpacked_at_all(name, config_of, server, tmp_path):
    server.body = archive({"Tiny_Set.inter": TEXT, **UNSAFE[name]})
    with pytest.raises(DataError, match="is no plain file within its folder; nothing of it was unpacked"):
        fetch_missing(config_of())
    assert lying_in(tmp_path) == ["data"]


@pytest.mark.parametrize("body", [b"<html>sign in first</html>", archive()[:-40], archive({})])
def test_what_is_no_archive_is_removed(body, config_of, server, tmp_path):
    server.body = body
    with pytest.raises(DataError, match="no archive that can be unpacked|holds no file"):
        fetch_missing(config_of())
    assert lying_in(tmp_path) == ["data"]


def test_a_damaged_file_in_an_archive_is_found_by_its_checksum(config_of, server, tmp_path):
    body = bytearray(archive())
    body[len(body) // 2] ^= 255
    server.body = bytes(body)
    with pytest.raises(DataError, match="no archive that can be unpacked"):
        fetch_missing(config_of())
    assert lying_in(tmp_path) == ["data"]


def test_one_folder_around_the_files_and_what_a_mac_adds_are_left_out(config_of, server, tmp_path):
    files = {"Tiny_Set/Tiny_Set.inter": TEXT, "Tiny_Set/Tiny_Set.item": "item_id:token\nx\n"}
    server.body = archive({**files, "__MACOSX/Tiny_Set/._Tiny_Set.inter": "", "Tiny_Set/.DS_Store": ""})
    fetch_missing(config_of())
    assert lying_in(tmp_path / "data" / "tiny-set") == ["tiny-set.inter", "tiny-set.item"]


def test_more_than_there_is_room_for_is_not_unpacked(config_of, monkeypatch, tmp_path):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100})())
    with pytest.raises(DataError, match=r"its files need .* room for 0.0 MB .*free space"):
        fetch_missing(config_of())
    assert not (tmp_path / "data" / "tiny-set").exists()


def test_much_is_fetched_only_if_somebody_says_so(config_of, monkeypatch, tmp_path):
    monkeypatch.setattr(download, "_MUCH", 100)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(DataError, match="there is no terminal to ask"):
        fetch_missing(config_of())
    for answer, fetched in (("n", False), ("", False), ("y", True)):
        terminal = io.StringIO(f"{answer}\n")
        terminal.isatty = lambda: True
        monkeypatch.setattr(sys, "stdin", terminal)
        if fetched:
            fetch_missing(config_of())
        else:
            with pytest.raises(DataError, match="was not to be fetched"):
                fetch_missing(config_of())
        assert (tmp_path / "data" / "tiny-set").exists() == fetched


def test_two_processes_do_not_write_one_archive(config_of, server, tmp_path):
    server.break_at = 1000
    with pytest.raises(DataError, match="broke off"):
        fetch_missing(config_of())
    server.break_at = None
    (part,) = (tmp_path / "data").iterdir()
    with download._alone(part, tmp_path / "data" / "tiny-set"):
        with pytest.raises(DataError, match="another process is fetching this data set"):
            fetch_missing(config_of())
    fetch_missing(config_of())


def test_a_folder_that_cannot_be_written_is_named(config_of, tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DataError, match="tiny-set: it cannot be written"):
        fetch_missing(config_of())


def test_the_program_fetches_and_runs(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = [
        *("--dataset=tiny-set", f"--dataset_url={server.url}", "--data_path=data", "--run_dir=run"),
        *("--strategy=static", "--base=plain", "--model=BPR", "--epochs=1", "--write_report=False"),
        *("--topk=[5]", "--valid_metric=Recall@5"),
    ]
    server.break_at = 2000
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.splitlines()[-1].startswith("error: tiny-set: ")
    assert not (tmp_path / "run").exists()
    server.break_at = None
    assert main(arguments) == 0
    assert (tmp_path / "run" / "result.json").is_file() and server.asked[-1] == "bytes=2000-"
