"""Settings that are no settings: refused by key, before anything is traced."""

import pytest

from entracte.declare.compose import compose
from entracte.declare.read import read
from entracte.errors import ConfigError
from entracte.units import parse_bytes
from tests.fuzz.base import CONF, compile_words

BASE = compile_words("random:0")[3:]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("target.load_overhead_s=nan", "target.load_overhead_s: nan is not finite"),
        ("target.load_overhead_s=-1", "target.load_overhead_s: -1.0 is negative"),
        ("target.call_overhead_s=inf", "target.call_overhead_s: inf is not finite"),
        ("target.compute_gflops=0", "target.compute_gflops: 0.0 is not above 0"),
        ("target.load_bandwidth=0", "target.load_bandwidth: 0.0 is not above 0"),
        ("target.memory_bandwidth=0GB", "target.memory_bandwidth: 0.0 is not above 0"),
        ("target.cold_bandwidth=0", "target.cold_bandwidth: 0.0 is not above 0"),
        ("target.chunk_limit=0", "target.chunk_limit: 0.0 is not above 0"),
        ("target.contention=inf", "target.contention: inf is not finite"),
        ("target.contention=1e300", "target.contention: 1e.300 is not between 1 and"),
        ("target.memory=2000000TiB", "target.memory: 2000000TiB is not between 0 and 1 EiB"),
        ("target.memory=" + "1" * 400 + "TiB", "target.memory: 1+ is not between"),
        ("target.name=../../x", "target.name: '../../x': a name is letters"),
        ("pipeline.name=a/b", "pipeline.name: 'a/b': a name is letters"),
        ("pipeline.name=''", "pipeline.name: ''"),
        ("pipeline.title='a\x1b[2J'", "pipeline.title: .* holds the control character"),
        ("pipeline.title='two\nlines'", "pipeline.title: .* holds the control character"),
        ("pipeline.outputs.video.value='decode.\u202epixels'", "pipeline.outputs"),
        ("pipeline.video.fps=0", "pipeline.outputs.video.rate: "),
        ("pipeline.inputs.strength.default=[1]", "pipeline.inputs.strength.default"),
        ("pipeline.inputs.strength.default=nan", "pipeline.inputs.strength.default: nan"),
        ("pipeline.inputs.seed.default=x", "pipeline.inputs.seed.default: 'x' is no seed"),
        ("pipeline.inputs.seed.default=1.5", "pipeline.inputs.seed.default: 1.5 is no seed"),
        ("pipeline.inputs.prompt.default=7", "pipeline.inputs.prompt.default: 7 is no text"),
        ("sampler.steps=1000000000000", "pipeline.loops.sample.count: 1000000000000 iterations"),
        ("+pipeline.stages.table.params.x=" + "9" * 30, "params.x: a whole number beyond 64 bits"),
        ("+pipeline.stages.table.params.x=inf", "params.x: inf is not finite"),
        ("policy.lookahead=-1", "policy.lookahead: -1 is negative"),
        ("partition.chunk_bytes=0", "partition.chunk_bytes: 0 is not above 0"),
        ("cache_limit=-1", "cache_limit: '-1' is not a size"),
        ("target=1", "configuration: Config group override must be a string"),
        ("a=" + "1" * 5000, "configuration: "),
        ("target.name=${nothing}", "configuration: .*nothing"),
        ("pipeline.stages=${pipeline}", "configuration: "),
        ("pipeline.stages.text.params=${target}", "pipeline.stages.text.params: a group"),
        ("+pipeline.video.more=${pipeline.stages.text}", "pipeline.video: a group"),
        ("+pipeline.stages.table.params.x=${policy}", "pipeline.stages.table.params: a group"),
    ],
)
def test_a_setting_that_is_none_is_refused_by_its_key(word, message):
    with pytest.raises(ConfigError, match=message):
        read(compose([*BASE, word], CONF))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  seed: {kind", "  _seed: {kind", "pipeline.inputs._seed: an input's name is letters"),
        ("  sample:\n", "  sam/ple:\n", "pipeline.loops.sam/ple: a loop's name is letters"),
        ("  noise:\n", "  no ise:\n", "pipeline.stages.no ise: a stage's name is letters"),
    ],
)
def test_names_are_names(old, new, message, tmp_path):
    text = (CONF / "pipeline" / "fuzz.yaml").read_text()
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "mine.yaml").write_text(text.replace(old, new))
    words = ["+target=host", "pipeline=mine", "pipeline.weights=random:0", "sampler.steps=4"]
    with pytest.raises(ConfigError, match=message):
        read(compose(words, tmp_path))


def test_the_same_without_is_read():
    assert read(compose(BASE, CONF)).pipeline.name == "fuzz"


@pytest.mark.parametrize(
    "raw",
    [b"\xff\xfe\x00", b"a: [", b"a: &x [*x]", b"\t- a", b"? [a]\n: b",
     b"a: !!python/name:os.system", b"a: " + b"[" * 3000, b"a: 2020-01-01",
     b"- a\n- b", b"7", b"a: !!binary aGk=", b"\x00"],
)  # fmt: skip
def test_a_file_that_is_no_settings_is_one_message(raw, tmp_path):
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "mine.yaml").write_bytes(raw)
    with pytest.raises(ConfigError):
        read(compose(["+target=host", "pipeline=mine"], tmp_path))


@pytest.mark.parametrize("size", [-1, float("nan"), float("inf"), 2**61, 1e300, "-1", "1e3", "²"])
def test_sizes_that_are_none(size):
    with pytest.raises(ConfigError, match="here: "):
        parse_bytes(size, "here")


def test_the_largest_size():
    assert parse_bytes("1048576TiB", "here") == parse_bytes(2**60, "here") == 2**60
