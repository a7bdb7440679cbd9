"""The configuration: flags, else variables, else defaults; a bad one is one clear line."""

import pytest

from flychat.config import Config, misspelt, table_asked_for
from flychat.errors import Misconfigured


def read(line: str, **environ: str) -> Config:
    return Config.read(line.split(), environ)


@pytest.mark.parametrize(
    ("line", "environ", "expected"),
    [
        ("--standalone", {}, ("standalone", "sqlite", "flychat.db", "127.0.0.1", 3000)),
        ("--grip", {}, ("grip", "dynamodb", "flychat-messages", "127.0.0.1", 3000)),
        ("--grip --store sqlite:x.db", {}, ("grip", "sqlite", "x.db", "127.0.0.1", 3000)),
        ("--standalone --store sqlite::memory: --port 0", {}, ("standalone", "sqlite", ":memory:", "127.0.0.1", 0)),
        ("", {"FLYCHAT_STANDALONE": "1", "FLYCHAT_PORT": "81"}, ("standalone", "sqlite", "flychat.db", "127.0.0.1", 81)),
        ("--port 82", {"FLYCHAT_GRIP": "yes", "FLYCHAT_PORT": "81"}, ("grip", "dynamodb", "flychat-messages", "127.0.0.1", 82)),
        ("--standalone", {"FLYCHAT_GRIP": "1", "FLYCHAT_HOST": "::1"}, ("standalone", "sqlite", "flychat.db", "::1", 3000)),
        ("--standalone", {"FLYCHAT_STORE": "dynamodb:tab"}, ("standalone", "dynamodb", "tab", "127.0.0.1", 3000)),
        ("--standalone", {"FLYCHAT_STORE": "", "FLYCHAT_PORT": ""}, ("standalone", "sqlite", "flychat.db", "127.0.0.1", 3000)),
    ],
)  # fmt: skip
def test_a_flag_comes_before_a_variable_before_a_default(line, environ, expected):
    config = read(line, **environ)
    assert (config.mode, config.engine, config.location, config.host, config.port) == expected


def test_white_space_around_a_variable_is_no_part_of_it():
    blank = {"FLYCHAT_STANDALONE": "1\r", "FLYCHAT_STORE": "sqlite:x.db \r", "FLYCHAT_HOST": " ::1"}
    config = read("", **blank, FLYCHAT_PORT="81\r", FLYCHAT_SECRET=" ")
    assert (config.location, config.host, config.port, config.access.secret) == ("x.db", "::1", 81, "")
    assert Config.read(["--standalone", "--store", "sqlite:x "], {}).location == "x "  # so it was said
    assert table_asked_for(["--create-table"], {"FLYCHAT_STORE": "dynamodb:tab "}) == "dynamodb:tab"


def test_a_variable_of_no_option_is_misspelt():
    ours = ["FLYCHAT_GRIP_URL", "FLYCHAT_CREATE_TABLE", "FLYCHAT_ACCESS", "FLYCHAT_TOKEN", "FLYCHAT_DYNAMODB"]
    others = ["FLYCHAT_SECRET_FILE", "FLYCHAT_ACESS", "HOME"]
    assert list(misspelt(dict.fromkeys(ours + others, "x"))) == ["FLYCHAT_ACESS", "FLYCHAT_SECRET_FILE"]


def test_what_is_repeatable_is_a_list_in_its_variable():
    expected = ("https://a.example", "http://b.example:8080")
    assert (
        read("--standalone --cors-origin https://A.example --cors-origin http://b.example:8080").cors_origins
        == expected
    )
    assert (
        read("--standalone", FLYCHAT_CORS_ORIGIN="https://a.example, http://b.example:8080").cors_origins
        == expected
    )
    assert read("--standalone").cors_origins == ()


def test_an_origin_is_written_as_browsers_send_it():
    given = "https://a.example:443 http://b.example:80 https://c.example:80 http://[::1]:8080"
    expected = ("https://a.example", "http://b.example", "https://c.example:80", "http://[::1]:8080")
    assert read("--standalone", FLYCHAT_CORS_ORIGIN=given).cors_origins == expected


def test_posts_are_limited_unless_the_rate_is_0():
    assert read("--standalone").rate_limit == 10
    assert read("--standalone --rate-limit 0.5").rate_limit == 0.5
    assert read("--standalone", FLYCHAT_RATE_LIMIT="0").rate_limit == 0


def test_there_are_no_signals_unless_it_is_said():
    assert not read("--grip").signals
    assert read("--standalone --signals").signals
    assert read("--grip", FLYCHAT_SIGNALS="1").signals


def test_streams_have_no_cap_unless_it_is_said():
    assert (read("--standalone").max_streams, read("--standalone").max_streams_per_client) == (0, 0)
    config = read("--standalone --max-streams 5", FLYCHAT_MAX_STREAMS_PER_CLIENT="3")
    assert (config.max_streams, config.max_streams_per_client) == (5, 3)


def test_the_memory_for_rooms_has_a_bound():
    assert read("--standalone").memory == 256
    assert read("--standalone --memory 64").memory == 64
    assert read("--grip", FLYCHAT_MEMORY="1024").memory == 1024


def test_answers_wait_for_the_proxies_unless_it_is_said():
    assert not read("--grip").answer_first
    assert read("--grip --answer-first").answer_first
    assert read("--grip", FLYCHAT_ANSWER_FIRST="1").answer_first


def test_a_channel_prefix_ends_with_what_no_other_name_has():
    assert read("--grip").channel_prefix == ""
    assert read("--grip --channel-prefix one").channel_prefix == "one:"
    assert read("--grip", FLYCHAT_CHANNEL_PREFIX="a.b-1").channel_prefix == "a.b-1:"


def test_a_proxy_is_trusted_only_when_it_is_said():
    assert not read("--standalone").trust_proxy
    assert read("--standalone --trust-proxy").trust_proxy
    assert read("--standalone", FLYCHAT_TRUST_PROXY="1").trust_proxy


@pytest.mark.parametrize(
    ("line", "environ", "says"),
    [
        ("", {}, "--standalone"),
        ("", {"FLYCHAT_STANDALONE": "0"}, "--standalone"),
        ("", {"FLYCHAT_STANDALONE": "1", "FLYCHAT_GRIP": "1"}, "say one of"),
        ("", {"FLYCHAT_STANDALONE": "maybe"}, "FLYCHAT_STANDALONE must be 1 or 0"),
        ("--standalone", {"FLYCHAT_TRUST_PROXY": "ture"}, "FLYCHAT_TRUST_PROXY must be 1 or 0"),
        ("--grip", {"FLYCHAT_WITH_PUSHPIN": "2"}, "FLYCHAT_WITH_PUSHPIN must be 1 or 0"),
        ("--standalone --answer-first", {}, "--answer-first is for --grip"),
        ("--standalone --grip-url http://a:1/", {}, "--grip-url is for --grip"),
        ("--standalone --channel-prefix a", {}, "--channel-prefix is for --grip"),
        ("--grip --channel-prefix a:b", {}, "--channel-prefix must be of letters"),
        ("--grip", {"FLYCHAT_CHANNEL_PREFIX": "a;b"}, "FLYCHAT_CHANNEL_PREFIX must be of letters"),
        ("--standalone --pushpin-port 81", {}, "--pushpin-port is for --grip"),
        ("--grip --pushpin-port 81", {}, "--pushpin-port is for --with-pushpin"),
        ("--grip --max-streams 5", {}, "--max-streams is for --standalone"),
        ("--max-streams-per-client 5", {"FLYCHAT_GRIP": "1"}, "--max-streams-per-client is for --standalone"),
        ("--standalone --grip", {}, "not allowed with"),
        ("--standalone --no-such-option", {}, "--no-such-option"),
        ("--stand", {}, "--stand"),
        ("--standalone --port x", {}, "--port"),
        ("--standalone --port 65536", {}, "--port"),
        ("--standalone", {"FLYCHAT_PORT": "-1"}, "FLYCHAT_PORT must be"),
        ("--standalone", {"FLYCHAT_PORT": "tcp://10.0.0.1:3000"}, "FLYCHAT_PORT must be"),  # of Kubernetes
        ("--standalone --port x", {"FLYCHAT_PORT": "81"}, "--port must be"),
        ("--standalone", {"FLYCHAT_ACCESS": "staff"}, "FLYCHAT_ACCESS must be"),
        ("--standalone", {"FLYCHAT_WITH_PUSHPIN": "1"}, "FLYCHAT_WITH_PUSHPIN is for --grip"),
        ("--standalone --store redis:x", {}, "--store"),
        ("--standalone --store sqlite:", {}, "--store"),
        ("--standalone --store dynamodb:ab", {}, "--store"),
        ("--standalone --store dynamodb:a/b/c", {}, "--store"),
        ("--create-table", {}, "--create-table"),
        ("--standalone --log-format xml", {}, "--log-format"),
        ("--standalone --max-streams x", {}, "--max-streams"),
        ("--standalone --max-streams-per-client -1", {}, "--max-streams-per-client"),
        ("--standalone --retention 6", {}, "--retention"),
        ("--standalone --memory 15", {}, "--memory"),
        ("--standalone --memory 64M", {}, "--memory"),
        ("--standalone --rate-limit -1", {}, "--rate-limit"),
        ("--standalone --rate-limit many", {}, "--rate-limit"),
        ("--standalone --cors-origin example.org", {}, "--cors-origin"),
        ("--standalone --cors-origin https://example.org/", {}, "--cors-origin"),
        ("--standalone --cors-origin https://grüße.example", {}, "as browsers send it"),
    ],
)
def test_a_bad_option_is_named_in_one_line(line, environ, says):
    with pytest.raises(Misconfigured) as refusal:
        read(line, **environ)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_variables_are_for_a_whole_machine_so_those_of_the_other_mode_are_no_mistake():
    assert read("--standalone", FLYCHAT_GRIP_URL="http://a:1/", FLYCHAT_PUSHPIN_PORT="81").grip_urls == ()
    assert read("--grip", FLYCHAT_MAX_STREAMS="5", FLYCHAT_MAX_STREAMS_PER_CLIENT="5").mode == "grip"


@pytest.mark.parametrize(
    ("line", "environ", "store"),
    [
        ("--create-table", {}, "dynamodb:flychat-messages"),
        ("--port 1 --create-table --store dynamodb:a.b-c_9", {}, "dynamodb:a.b-c_9"),
        ("--create-table", {"FLYCHAT_STORE": "dynamodb:tab", "FLYCHAT_GRIP": "1"}, "dynamodb:tab"),
        ("", {"FLYCHAT_CREATE_TABLE": "yes"}, "dynamodb:flychat-messages"),
        ("--standalone", {"FLYCHAT_CREATE_TABLE": "yes"}, None),
        ("", {"FLYCHAT_GRIP": "1"}, None),
    ],
)
def test_a_table_is_asked_for_among_the_options_of_the_server(line, environ, store):
    assert table_asked_for(line.split(), environ) == store


@pytest.mark.parametrize(
    ("line", "environ", "says"),
    [
        ("", {}, "--create-table"),
        ("--create-table --grip", {}, "not allowed with"),
        ("--create-table --no-such-option", {}, "--no-such-option"),
        ("", {"FLYCHAT_CREATE_TABLE": "1", "FLYCHAT_GRIP": "1"}, "say one of"),
    ],
)
def test_how_a_table_is_not_asked_for(line, environ, says):
    with pytest.raises(Misconfigured, match=says):
        table_asked_for(line.split(), environ)


def test_a_retention_is_in_seconds_from_here_on():
    assert read("--standalone").retention is None
    assert read("--standalone --retention 0").retention is None
    assert read("--standalone --retention 7").retention == 7 * 24 * 3600
