"""Places: whatever is open in a browser, five windows at most have a stream, and a connection is left for requests."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.conftest import need
from tests.page.window import Open, hide, older, run_clock, seed
from tests.support.browser import ServerProcess, Window, post
from tests.support.ports import free_port

IN_TURNS = "New messages every 5 s"


def rooms(window: Open, name: str, count: int, *, hidden: int = 0, locks: bool = True) -> list[Window]:
    """Windows of one browser, each in a room of its own; the first of them out of sight. The last one's clock is ours."""
    made: list[Window] = []
    for number in range(count):
        made.append(window(room=f"{number} {name}"[:64], beside=made[0] if made else None))
        if number == 0 and not locks:
            made[0].context.add_init_script("delete Navigator.prototype.locks")
        if number == count - 1:
            made[-1].page.clock.install()
        made[-1].open(connected=number < 5)
        if number < hidden:
            hide(made[-1].page, True)
    return made


@pytest.mark.parametrize("locks", [True, False])
def test_of_six_rooms_side_by_side_five_are_live_and_the_sixth_says_that_it_is_not(
    window: Open, url: str, room: str, locks: bool
) -> None:
    seed(url, f"5 {room}"[:64], 60)
    six = rooms(window, room, 6, locks=locks)
    last = six[-1]
    run_clock(last.page, lambda: IN_TURNS in last.status.text_content())
    older(last.page)
    expect(last.row("message 1")).to_be_attached()
    for each in six:
        each.say("there is a connection left")
    for each in six:
        post(url, each.room, "Bob", "to all rooms")
        if each is last:
            run_clock(last.page, last.row("to all rooms").is_visible)
        expect(each.row("to all rooms")).to_be_attached()
        expect(each.row("there is a connection left")).to_have_attribute(
            "data-id", "61" if each is last else "1"
        )
    for each in six[:-1]:
        expect(each.status).to_have_text("Connected")
    expect(last.status).to_contain_text(IN_TURNS)
    six[0].page.close()
    run_clock(last.page, lambda: last.status.text_content() == "Connected")
    post(url, last.room, "Bob", "live at last")
    expect(last.row("live at last")).to_be_attached()


@pytest.mark.parametrize("locks", [True, False])
def test_four_hidden_rooms_give_way_to_those_in_sight(window: Open, url: str, room: str, locks: bool) -> None:
    seed(url, f"5 {room}"[:64], 60)
    six = rooms(window, room, 6, hidden=4, locks=locks)
    for each in six[4:]:
        expect(each.status).to_have_text("Connected")
        each.say("there is a connection left")
        post(url, each.room, "Bob", "to those in sight")
        expect(each.row("to those in sight")).to_be_attached()
        expect(each.row("there is a connection left")).to_have_attribute("data-state", "official")
    older(six[-1].page)
    expect(six[-1].row("message 1")).to_be_attached()


def test_a_room_is_in_sight_if_any_of_its_tabs_is(window: Open, url: str, room: str) -> None:
    leader = window(room=f"first {room}"[:64]).open()
    follower = window(room=leader.room, beside=leader).open()
    hide(leader.page, True)
    others = [window(room=f"{number} {room}"[:64], beside=leader) for number in range(5)]
    for each in others:
        each.open(connected=each is not others[-1])
    expect(others[-1].status).to_have_text(IN_TURNS)
    post(url, leader.room, "Bob", "live")
    expect(follower.row("live")).to_be_visible()
    hide(follower.page, True)
    expect(others[-1].status).to_have_text("Connected")


@pytest.fixture
def http2(server: ServerProcess, tmp_path: Path) -> Iterator[str]:
    """The server behind an nginx that speaks HTTP/2."""
    need("nginx")
    need("openssl")
    made = ("-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "certificate.pem")
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *made]
    subprocess.run(request, cwd=tmp_path, check=True, capture_output=True)
    port = free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    (tmp_path / "nginx.conf").write_text(
        f"""{"user root;" * (os.geteuid() == 0)} daemon off; worker_processes 1; pid nginx.pid; events {{}} http {{
        access_log off; {" ".join(f"{kind}_temp_path {kind};" for kind in kinds)}
        server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate certificate.pem; ssl_certificate_key key.pem;
        location / {{ proxy_pass http://127.0.0.1:{server.port}; proxy_http_version 1.1; proxy_buffering off;
        proxy_set_header Host $http_host; proxy_set_header Connection ""; }} }} }}"""
    )
    command = ["nginx", "-p", str(tmp_path), "-c", "nginx.conf", "-e", "stderr"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            assert process.poll() is None
            time.sleep(0.02)
    yield f"https://127.0.0.1:{port}/"
    process.terminate()
    process.wait()


def test_over_http2_all_rooms_are_live_those_out_of_sight_as_well(
    window: Open, url: str, http2: str, room: str
) -> None:
    first = window(url=http2, room=f"0 {room}"[:64], ignore_https_errors=True).open()
    seven = [first]
    for number in range(1, 7):
        hide(seven[-1].page, True)
        seven.append(window(url=http2, room=f"{number} {room}"[:64], beside=first).open())
    for each in seven:
        post(url, each.room, "Bob", "to all rooms")
        expect(each.row("to all rooms")).to_be_attached()
    first.say("from out of sight")
    expect(first.row("from out of sight")).to_have_attribute("data-id", "2")
