"""Files given to a run: what they become, beside PIL, PyAV, torch and sums on paper; and what is
wrong with them, one message each."""

import io
import struct
import wave
import zipfile
import zlib
from dataclasses import replace

import av
import numpy as np
import pytest
from PIL import Image

from entracte.cli.given import example_words, given_by_name, out_by_name
from entracte.errors import RunError
from entracte.ir import DType, Input, Output, Port
from entracte.run.inputs import given_inputs, told_inputs
from entracte.run.media import decode
from entracte.run.resample import fit, resize, samples_needed, sound, triangle
from tests.planner.plans import make_plan


def image_of(height, width, **more):
    port = Port("picture", (1, 3, height, width), DType.FP32)
    return Input("picture", "image", None, port, **more)


def given(i, value):
    plan = make_plan()
    plan = replace(plan, program=replace(plan.program, inputs=(i,)))
    inputs = {} if value is None else {i.name: value}
    made = given_inputs(plan, inputs)
    return made[i.name], told_inputs(plan, inputs)[i.name]


def read(i, path):
    return decode(i.name, i, path)


def faulty(i, path, match):
    with pytest.raises(RunError, match=match) as raised:
        read(i, path)
    assert str(raised.value).startswith(f"input {i.name!r}: ") and "\n" not in str(raised.value)


# ---------------------------------------------------------------- sizes, on paper and beside others


def test_weights_on_paper():
    """Two pixels of four: each reaches over one and a half pixels on each side of its centre."""
    np.testing.assert_allclose(
        triangle(4, 0.0, 4.0, 2), np.array([[3, 3, 1, 0], [0, 1, 3, 3]]) / 7, atol=1e-15
    )
    np.testing.assert_allclose(
        triangle(2, 0.0, 2.0, 4), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]], atol=1e-15
    )
    # The middle half of four pixels, as it is.
    np.testing.assert_allclose(triangle(4, 1.0, 2.0, 2), [[0, 1, 0, 0], [0, 0, 1, 0]], atol=1e-15)


@pytest.mark.parametrize(("h", "w", "height", "width"), [
    (30, 40, 13, 17), (8, 9, 31, 20), (50, 20, 20, 50), (5, 5, 5, 5), (1, 1, 4, 3), (64, 3, 2, 3),
])  # fmt: skip
def test_a_stretched_picture_is_torchs_and_pils(h, w, height, width):
    import torch

    pixels = np.random.default_rng(h).integers(0, 256, (h, w, 3), np.uint8)
    made = resize(pixels, "stretch", (height, width))
    source = torch.from_numpy(pixels).double().permute(2, 0, 1)[None]
    theirs = torch.nn.functional.interpolate(
        source, (height, width), mode="bilinear", antialias=True, align_corners=False
    )[0].permute(1, 2, 0)
    np.testing.assert_allclose(made, theirs.numpy(), atol=1e-9)
    # PIL computes with 8 bits of fraction, and rounds after each of the two directions.
    whole = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    assert np.abs(made - np.asarray(whole).astype(float)).max() <= 1.6


@pytest.mark.parametrize(("h", "w", "height", "width"), [(30, 41, 16, 16), (20, 50, 24, 40)])
def test_a_cropped_picture_is_pils_box(h, w, height, width):
    pixels = np.random.default_rng(3).integers(0, 256, (h, w, 3), np.uint8)
    scale = max(height / h, width / w)
    box_h, box_w = height / scale, width / scale
    left, top = (w - box_w) / 2, (h - box_h) / 2
    box = (left, top, left + box_w, top + box_h)
    theirs = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR, box)
    made = resize(pixels, "crop", (height, width))
    # PIL cuts its box to whole pixels where it samples: the outermost ones may differ.
    inner = np.abs(made - np.asarray(theirs).astype(float))[1:-1, 1:-1]
    assert inner.max() <= 1.6


def test_geometry_on_paper():
    wide = fit("crop", (10, 30), (4, 4))
    assert (wide.top, wide.left, wide.height, wide.width) == (0, 10, 10, 10)
    tall = fit("crop", (30, 10), (4, 8))
    assert (tall.top, tall.left, tall.height, tall.width) == (12.5, 0, 5, 10)
    padded = fit("pad", (10, 30), (8, 9))
    assert (padded.first_row, padded.first_column, padded.rows, padded.columns) == (2, 0, 3, 9)
    slim = fit("pad", (100, 1), (10, 10))
    assert (slim.first_column, slim.columns, slim.rows) == (4, 1, 10)
    assert fit("pad", (3, 2), (4, 5)).columns == 3  # 2 x 4/3, to the nearest
    half = fit("pad", (2, 3), (3, 3))  # 2 rows of 3 columns: 2 x 3/3
    assert (half.first_row, half.rows) == (0, 2)


def test_what_is_padded_is_black_in_the_inputs_own_range(tmp_path):
    Image.fromarray(np.full((2, 4, 3), 255, np.uint8)).save(tmp_path / "x.png")
    made = read(image_of(4, 4, fit="pad", low=-1.0, high=1.0), tmp_path / "x.png")
    assert made.shape == (1, 3, 4, 4) and made.dtype == np.float32
    np.testing.assert_array_equal(made[0, 1], np.repeat([[-1], [1], [1], [-1]], 4, axis=1))


# ---------------------------------------------------------------- pictures of every kind


def saved(tmp_path, image, name="x.png", **more):
    image.save(tmp_path / name, **more)
    return tmp_path / name


GREY = np.array([[0, 51], [102, 255]], np.uint8)


def test_kinds_of_pixels(tmp_path):
    small = image_of(2, 2)

    def read_all(image, name="x.png", **more):
        return read(small, saved(tmp_path, image, name, **more))[0]

    def grey(levels):
        return np.repeat(np.float32(levels)[None], 3, axis=0)

    np.testing.assert_array_equal(read_all(Image.fromarray(GREY)), grey(GREY / 255))
    bits = Image.fromarray(GREY > 60)
    np.testing.assert_array_equal(read_all(bits), grey((GREY > 60) * 1.0))
    deep = np.array([[0, 65535], [1, 32768]], np.uint16)
    np.testing.assert_array_equal(read_all(Image.fromarray(deep)), grey(deep / 65535))
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[..., 0], rgba[..., 1], rgba[..., 3] = 200, GREY, GREY
    over_black = read_all(Image.fromarray(rgba))
    np.testing.assert_allclose(over_black[0], 200 / 255 * GREY / 255, atol=1e-7)
    np.testing.assert_allclose(over_black[1], (GREY / 255) ** 2, atol=1e-7)
    assert not over_black[2].any()
    np.testing.assert_array_equal(
        read_all(Image.fromarray(rgba), "x.webp", lossless=True, exact=True), over_black
    )
    palette = Image.new("P", (2, 2))
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 51])
    palette.putdata([0, 1, 2, 1])
    made = read_all(palette)
    np.testing.assert_array_equal(made[0], [[0, 1], [0, 1]])
    np.testing.assert_array_equal(made[2], np.float32([[0, 0], [0.2, 0]]))
    seen = read_all(palette, "t.png", transparency=1)
    assert not seen[0].any() and seen[2, 1, 0] == np.float32(0.2)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_stands_upright(tmp_path, orientation):
    """What the eight say of where the first row and column are (EXIF 2.3, 4.6.4 A)."""
    upright = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: np.rot90(upright), 7: np.rot90(upright.T, 2), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    made = read(image_of(2, 3), path)
    np.testing.assert_array_equal(made[0, 0], np.float32(upright / 255))


def test_a_jpeg_is_what_pil_decodes(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    path = saved(tmp_path, Image.fromarray(pixels), "x.JPG", quality=90)
    theirs = np.asarray(Image.open(path).convert("RGB"))
    made = read(image_of(16, 16), path)
    np.testing.assert_array_equal(made[0].transpose(1, 2, 0), np.float32(theirs / 255))


def png_of(width, height):
    """A file that claims a size and holds nothing."""

    def part(kind, data):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    empty = zlib.compress(b"")
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", empty) + part(b"IEND", b"")


def test_pictures_that_cannot_be(tmp_path):
    small = image_of(2, 2)

    def written(name, data):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 99, 3), np.uint8)).save(
        whole, "png"
    )
    faulty(small, tmp_path / "no.png", "No such file or directory; give a file")
    faulty(small, tmp_path, "is no regular file")
    faulty(small, written("x.bmp", b"BM"), r"give an image, a file that ends in \.png, \.jpg")
    faulty(small, written("e.png", b""), "is empty")
    faulty(small, written("t.png", whole.getvalue()[:900]), "cannot be read as image .*is it whole")
    faulty(small, written("n.png", b"not a picture"), "cannot be read as image")
    faulty(small, written("b.png", png_of(60_000, 60_000)), "3600000000 pixels.* exceeds limit")
    faulty(small, written("c.png", png_of(10_000, 9_000)), "has 9000 x 10000 pixels; at most")
    faulty(small, written("l.png", png_of(40_000, 2)), "has 2 x 40000 pixels; .* 32768 a side")
    faulty(small, written("z.png", png_of(50, 50)), "cannot be read as image")
    path = saved(tmp_path, Image.new("CMYK", (2, 2)), "c.jpg")
    faulty(small, path, "its colours are CMYK; give it in RGB")
    gif = io.BytesIO()
    Image.new("L", (2, 2)).save(gif, "gif")
    faulty(small, written("g.png", gif.getvalue()), "cannot be read as image")


# ---------------------------------------------------------------- videos


LEVELS = [16, 60, 100, 140, 180, 220]


def clip_at(path, first):
    """Six grey frames, 10 a second, without loss, the first one shown after so many tenths."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 8, 4, "gray"
        for k, level in enumerate(LEVELS):
            image = np.full((4, 8), level, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="gray")
            frame.pts = first + k
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return clip_at(tmp_path_factory.mktemp("clip") / "clip.mkv", 0)


def video_of(frames, **more):
    return Input("clip", "video", None, Port("clip", (1, 3, frames, 2, 4), DType.FP32), **more)


@pytest.mark.parametrize(("rate", "wanted"), [
    (0.0, [0, 1, 2, 3]), (10.0, [0, 1, 2, 3]), (5.0, [0, 2, 4]), (20.0, [0, 0, 1, 1, 2]),
    (4.0, [0, 2, 5]),
])  # fmt: skip
def test_frames_are_those_that_are_shown(clip, rate, wanted):
    """At 4 a second: at 0, 0.25 and 0.5 s, of frames that last 0.1 s from 0, 0.1, ..."""
    made = read(video_of(len(wanted), rate=rate), clip)
    assert made.shape == (1, 3, len(wanted), 2, 4)
    found = made[0, 0, :, 0, 0] * 255
    np.testing.assert_allclose(found, [LEVELS[k] for k in wanted], atol=1.01)
    assert all(np.ptp(made[0, :, k]) < 1e-6 for k in range(len(wanted)))


def test_time_begins_with_the_first_frame(tmp_path):
    """As in a clip that was cut out of another."""
    made = read(video_of(3, rate=5.0), clip_at(tmp_path / "late.mkv", 25))
    found = made[0, 0, :, 0, 0] * 255
    np.testing.assert_allclose(found, [LEVELS[k] for k in (0, 2, 4)], atol=1.01)


def test_a_clip_of_a_phone_stands_upright(tmp_path):
    """Its track's matrix (ISO 14496-12) takes column p, row q to -q, p: a quarter to the right."""
    path = tmp_path / "phone.mp4"
    image = np.zeros((32, 64, 3), np.uint8)
    image[:, 32:] = 200
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    raw = bytearray(path.read_bytes())
    struct.pack_into(
        ">9i", raw, raw.find(b"tkhd") + 44, 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30
    )
    path.write_bytes(raw)
    port = Port("clip", (1, 3, 1, 64, 32), DType.FP32)
    made = read(Input("clip", "video", None, port), path)[0, 0, 0] * 255
    assert made[:24].max() < 20 and made[40:].min() > 180


def test_a_clip_that_is_too_short_says_so(clip):
    faulty(video_of(7), clip, "has 6 frames, 7 are needed; give a longer one")
    faulty(video_of(4, rate=5.0), clip, "has 3 frames at 5 a second, 4 are needed")
    assert read(video_of(3, rate=5.0), clip) is not None


def test_videos_that_cannot_be(tmp_path, clip):
    def written(name, data):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    faulty(video_of(2), written("x.mp4", b"no video at all"), "cannot be read as video")
    faulty(video_of(6), written("h.mkv", clip.read_bytes()[:420]), "frames|cannot be read as video")
    secret = written("secret.mp4", clip.read_bytes())
    playlist = f"#EXTM3U\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    # A playlist names other files; none of them is opened.
    faulty(video_of(1), written("list.mp4", playlist.encode()), "cannot be read as video")
    concat = f"ffconcat version 1.0\nfile {secret}\n"
    faulty(video_of(1), written("list.mkv", concat.encode()), "cannot be read as video")
    with wave.open(str(tmp_path / "s.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))
    (tmp_path / "s.avi").write_bytes((tmp_path / "s.wav").read_bytes())
    faulty(video_of(1), tmp_path / "s.avi", "cannot be read as video|no pictures")


# ---------------------------------------------------------------- sounds


def wav(path, samples, rate, width=2):
    samples = np.asarray(samples)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2" if width == 2 else np.uint8).tobytes())
    return path


def audio_of(samples, rate=8000.0, **more):
    port = Port("said", (1, samples), DType.FP32)
    fields = {"low": -1.0, "high": 1.0} | more
    return Input("said", "audio", None, port, rate=rate, **fields)


def test_samples_as_they_are_then_silence(tmp_path):
    path = wav(tmp_path / "x.wav", [0, 16384, -32768, 32767], 8000)
    made = read(audio_of(6), path)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, np.float32([[0, 0.5, -1, 32767 / 32768, 0, 0]]))
    np.testing.assert_array_equal(read(audio_of(2), path), np.float32([[0, 0.5]]))
    ranged = read(audio_of(3, low=0.0, high=2.0), path)
    np.testing.assert_array_equal(ranged, np.float32([[1, 1.5, 0]]))


def test_channels_are_averaged(tmp_path):
    path = wav(tmp_path / "x.wav", [[16384, 0], [-16384, 16384]], 8000)
    np.testing.assert_array_equal(read(audio_of(2), path), np.float32([[0.25, 0]]))


def test_a_flac_and_an_mp3_hold_the_same(tmp_path):
    tone = np.round(20000 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16000)).astype(np.int16)
    for name, codec in (("x.flac", "flac"), ("x.mp3", "mp3")):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream(codec, rate=16000)
            stream.layout = "mono"
            form = "s16" if codec == "flac" else "s16p"
            frame = av.AudioFrame.from_ndarray(tone[None], format=form, layout="mono")
            frame.sample_rate = 16000
            resampler = av.AudioResampler(format=stream.codec_context.format or form)
            for part in resampler.resample(frame):
                container.mux(stream.encode(part))
            container.mux(stream.encode())
    flac = read(audio_of(8000, 16000.0), tmp_path / "x.flac")
    np.testing.assert_array_equal(flac[0], np.float32(tone / 32768))
    mp3 = read(audio_of(8000, 16000.0), tmp_path / "x.mp3")[0]
    spectrum = np.abs(np.fft.rfft(mp3[2000:6000]))
    assert abs(int(spectrum.argmax()) - 440 * 4000 / 16000) <= 1


@pytest.mark.parametrize(("given", "wanted"), [(8000, 16000), (44100, 16000), (48000, 16000)])
def test_a_tone_in_another_rate_is_the_same_tone(given, wanted):
    """Away from the ends, beside the sine itself; and what the new rate cannot hold is gone."""
    hertz = 700
    source = np.sin(2 * np.pi * hertz * np.arange(given) / given)
    made = sound(source, given, wanted, wanted)
    right = np.sin(2 * np.pi * hertz * np.arange(wanted) / wanted)
    np.testing.assert_allclose(made[200:-200], right[200:-200], atol=2e-3)
    if given > 20000:
        high = sound(np.sin(2 * np.pi * 11_000 * np.arange(given) / given), given, wanted, wanted)
        assert np.abs(high[200:-200]).max() < 5e-3


def test_resampling_on_paper():
    """One sample of 1 at twice the rate: the window's own values."""
    made = sound(np.array([1.0]), 1, 2.0, 4)
    d = np.array([0, 0.5, 1, 1.5])
    right = np.sinc(d) * np.cos(np.pi * d / 32) ** 2
    np.testing.assert_allclose(made, right, atol=1e-15)
    # What is needed of a long sound is all that its first samples are made of.
    long = np.random.default_rng(0).standard_normal(3000)
    for given, wanted, many in ((3, 2.0, 50), (2, 3.0, 50), (7, 1.0, 20)):
        whole = sound(long, given, wanted, many)
        np.testing.assert_array_equal(
            sound(long[: samples_needed(given, wanted, many)], given, wanted, many), whole
        )
    half = sound(np.array([0, 0, 1.0]), 2, 1.0, 2)  # at t = 0 and 2; s = 2
    right = np.array([np.sinc(1) * np.cos(np.pi / 32) ** 2, 1]) / 2
    np.testing.assert_allclose(half, right, atol=1e-15)


def test_far_rates_take_no_more_memory():
    """Each sample of the slower one reads 36,001 of the other: 120 at once are 35 MB an array."""
    import tracemalloc

    tracemalloc.start()
    made = sound(np.ones(40_000), 1_125_000, 1000.0, 120)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(made[17:18], 1, atol=2e-3)  # the only one with 16 zeros on each side
    assert peak_bytes < 80e6


def test_sounds_that_cannot_be(tmp_path, clip):
    (tmp_path / "x.wav").write_bytes(b"RIFF no sound")
    faulty(audio_of(4), tmp_path / "x.wav", "cannot be read as audio")
    (tmp_path / "x.m4a").write_bytes(clip.read_bytes())
    faulty(audio_of(4), tmp_path / "x.m4a", "there is no sound in it")


# ---------------------------------------------------------------- tensors


WORDS = Input("words", "tensor", None, Port("words", (2, 3), DType.INT32))
REALS = Input("reals", "tensor", None, Port("reals", (2, 3), DType.FP32))


def test_tensors_of_every_file(tmp_path):
    from safetensors.numpy import save_file

    whole = np.arange(6).reshape(2, 3)
    np.save(tmp_path / "a.npy", whole)
    np.save(tmp_path / "f.npy", np.asfortranarray(whole.astype(np.int16)))
    np.savez(tmp_path / "a.npz", words=whole, other=whole + 1)
    np.savez_compressed(tmp_path / "b.npz", only=whole)
    save_file({"only": whole.astype(np.int64)}, tmp_path / "a.safetensors")
    for name in ("a.npy", "f.npy", "a.npz", "b.npz", "a.safetensors"):
        made = read(WORDS, tmp_path / name)
        assert made.dtype == np.int32 and made.flags["C_CONTIGUOUS"]
        np.testing.assert_array_equal(made, whole)
    np.save(tmp_path / "r.npy", whole / 3)
    np.testing.assert_array_equal(read(REALS, tmp_path / "r.npy"), np.float32(whole / 3))


def test_tensors_that_cannot_be(tmp_path):
    def saved_as(name, array):
        np.save(tmp_path / name, array, allow_pickle=True)
        return tmp_path / name

    shape = r"give whole numbers of \(2, 3\), which become int32"
    faulty(WORDS, saved_as("s.npy", np.zeros((3, 2), int)), r"is int64 of \(3, 2\); " + shape)
    faulty(WORDS, saved_as("d.npy", np.zeros((2, 3))), "is float64 of .*" + shape)
    faulty(WORDS, saved_as("o.npy", np.array([[{}] * 3] * 2)), "is object of")
    faulty(WORDS, saved_as("h.npy", np.full((2, 3), 2**31)), "numbers that int32 does not")
    faulty(REALS, saved_as("i.npy", np.zeros((2, 3), int)), "give floats of")
    faulty(REALS, saved_as("l.npy", np.full((2, 3), 1e39)), "numbers that fp32 does not")
    np.savez(tmp_path / "two.npz", a=np.zeros((2, 3)), b=np.zeros((2, 3)))
    faulty(REALS, tmp_path / "two.npz", r"holds 2 tensors \(a, b\); .* the name 'reals'")
    whole = (tmp_path / "d.npy").read_bytes()
    (tmp_path / "t.npy").write_bytes(whole[:-8])
    faulty(REALS, tmp_path / "t.npy", "ends after 40 of 48 bytes")
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 8)}
        )
        archive.writestr("reals.npy", header.getvalue() + bytes(64 * 10**6))
    faulty(REALS, tmp_path / "bomb.npz", r"is float64 of \(1000000, 8\)")
    (tmp_path / "x.safetensors").write_bytes(b"\x80\x04pickle")
    faulty(REALS, tmp_path / "x.safetensors", "a pickle|not a safetensors file")


# ---------------------------------------------------------------- inputs of a run


def test_what_is_given_and_what_a_record_says_of_it(tmp_path):
    import hashlib

    path = saved(tmp_path, Image.fromarray(GREY))
    small = image_of(2, 2)
    made, told = given(small, str(path))
    np.testing.assert_array_equal(made[0, 0], np.float32(GREY / 255))
    assert told == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    array = np.ones((1, 3, 2, 2))
    made, told = given(small, array)
    assert made.dtype == np.float32
    assert told == "sha256:" + hashlib.sha256(array.astype(np.float32).tobytes()).hexdigest()
    made, told = given(replace(small, default=0.25), None)
    assert made.shape == (1, 3, 2, 2) and set(made.ravel()) == {0.25} and told == 0.25
    with pytest.raises(RunError, match="list is no image; give a file's name, or an array of"):
        given(small, [1, 2])
    with pytest.raises(RunError, match=r"input 'picture': is float64 of \(2, 2\)"):
        given(small, np.zeros((2, 2)))
    with pytest.raises(RunError, match="no default"):
        given(small, None)


def test_choices_by_name_and_by_place():
    label = Input("label", "choice", "cat", choices=("dog", "cat", "1"))
    assert [given(label, v) for v in ("cat", 0, "2", "1")] == [
        (1, "cat"), (0, "dog"), (2, "1"), (2, "1")
    ]  # fmt: skip
    assert given(label, None) == (1, "cat")
    for bad in ("cow", 3, -1, "", 1.5):
        with pytest.raises(RunError, match="is not one of dog, cat, 1$"):
            given(label, bad)
    many = Input("label", "choice", 0, choices=tuple(f"thing {k:03}" for k in range(300)))
    with pytest.raises(RunError, match=r"none of 300 choices; near it are .*thing 017.* 0 to 299"):
        given(many, "thing_017")
    level = Input("level", "choice", 1, least=1, most=4)
    assert given(level, "4") == (4, 4)
    with pytest.raises(RunError, match="input 'level': 5 is not allowed: least 1, most 4"):
        given(level, 5)


def test_numbers_and_seeds_within_their_ends():
    scale = Input("scale", "number", 1.0, least=0.0, most=2.5)
    assert given(scale, "2.5") == (2.5, 2.5)
    for bad in (-0.1, "2.6"):
        with pytest.raises(RunError, match=r"is not allowed: least 0, most 2\.5"):
            given(scale, bad)
    seed = Input("seed", "seed", 1, least=1)
    assert given(seed, 10**12) == (10**12, 10**12)
    with pytest.raises(RunError, match="0 is not allowed: least 1"):
        given(seed, 0)
    # A record's whole numbers have 64 bits, a tensor's 32, and its floats are fp32.
    level = Input("level", "choice", 1, least=1, most=2.0**40)
    for i, bad in ((seed, 2**63), (scale, 1e39), (replace(scale, most=None), 1e39), (level, 2**31)):
        with pytest.raises(RunError, match="is too large for a "):
            given(i, bad)
    assert given(seed, 2**63 - 1)[0] == 2**63 - 1


# ---------------------------------------------------------------- the words of a command


def named(texts, *inputs, **more):
    plan = make_plan()
    given_ = tuple(Input(name, kind, None) for name, kind in inputs)
    plan = replace(plan, program=replace(plan.program, inputs=given_))
    return given_by_name(plan, texts, **more)


def test_prompt_and_seed_stand_for_the_only_ones_of_their_kind():
    one = (("words", "text"), ("noise", "seed"), ("scale", "number"))
    assert named(["scale=2"], *one, prompt="a fox", seed=3) == {
        "scale": "2", "words": "a fox", "noise": 3
    }  # fmt: skip
    two = (("prompt", "text"), ("negative", "text"))
    assert named([], *two, prompt="a fox") == {"prompt": "a fox"}
    with pytest.raises(RunError, match="--prompt: a text .* there are several: first, second"):
        named([], ("first", "text"), ("second", "text"), prompt="a fox")
    with pytest.raises(RunError, match="--seed: a seed .* there are none; it has words"):
        named([], ("words", "text"), seed=0)
    with pytest.raises(RunError, match="--prompt: the input 'words' is given by --input too"):
        named(["words=x"], *one, prompt="y")
    assert named(["words=a=b"], *one) == {"words": "a=b"}
    with pytest.raises(RunError, match="--input words: write name=value"):
        named(["words"], *one)


def test_files_by_the_outputs_names():
    assert out_by_name([]) is None
    assert out_by_name(["clip.mp4"]) == "clip.mp4"
    assert out_by_name(["/tmp/a=b/clip.mp4"]) == "/tmp/a=b/clip.mp4"
    assert out_by_name(["frames=clip.mp4", "logits=x=y.npz"]) == {
        "frames": "clip.mp4", "logits": "x=y.npz"
    }  # fmt: skip
    with pytest.raises(RunError, match="--out x.npy: write NAME=FILE"):
        out_by_name(["frames=clip.mp4", "x.npy"])
    with pytest.raises(RunError, match="'frames' is given twice"):
        out_by_name(["frames=clip.mp4", "frames=x.mp4"])


def test_an_example_gives_what_must_be_given_and_names_a_file_for_each_output():
    """`compile` ends with it."""

    def words(inputs, outputs):
        plan = make_plan()
        made = tuple(Output(name, kind, ("v",), 0) for name, kind in outputs)
        return example_words(
            replace(plan, program=replace(plan.program, inputs=inputs, outputs=made))
        )

    prompt, seed = Input("prompt", "text", "a fox"), Input("seed", "seed", 0)
    film = (("film", "video"),)
    assert words((prompt, seed), film) == '--prompt "a blue square moves up" --out clip.mp4'
    assert words((image_of(2, 2), prompt), film) == "--input picture=picture.png --out clip.mp4"
    pace = Input("pace", "choice", None, choices=("slow", "fast"))
    assert words((pace,), (("said", "text"),)) == "--input pace=slow --out text.txt"
    several = (("said", "text"), ("a", "image"), ("b", "tensor"))
    assert words((), several) == "--out a=a.png --out b=b.npy"


# ---------------------------------------------------------------- damaged files


def png_16(colour, samples):
    """One row of 16 bits a sample."""

    def part(kind, data):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    row = zlib.compress(b"\0" + struct.pack(f">{len(samples)}H", *samples))
    header = struct.pack(">IIBBBBB", 2, 1, 16, colour, 0, 0, 0)
    whole = part(b"IHDR", header) + part(b"IDAT", row) + part(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + whole


def test_of_16_bits_of_colour_the_upper_8_count(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(png_16(2, (0x12F0, 0xFFFF, 0, 0x80FF, 1, 0xABCD)))
    made = read(image_of(1, 2), path)[0, :, 0]
    np.testing.assert_array_equal(
        made, np.float32(np.array([[0x12, 0x80], [255, 0], [0, 0xAB]]) / 255)
    )
    path.write_bytes(png_16(0, (0x12F0, 0xFFFF)))
    made = read(image_of(1, 2), path)[0, 0, 0]
    np.testing.assert_array_equal(made, np.float32([0x12F0 / 65535, 1]))


def test_whatever_a_file_holds_it_is_read_or_one_message(tmp_path, clip):
    """Bytes changed, cut and doubled, of every kind of file."""
    rng = np.random.default_rng(0)
    pixels = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8))
    for name in ("x.png", "x.jpg", "x.webp"):
        pixels.save(tmp_path / name)
    wav(tmp_path / "x.wav", rng.integers(-999, 999, 500), 8000)
    np.save(tmp_path / "x.npy", np.zeros((2, 3)))
    np.savez(tmp_path / "x.npz", reals=np.zeros((2, 3)))
    (tmp_path / "x.mkv").write_bytes(clip.read_bytes())
    inputs = {".png": image_of(4, 4), ".jpg": image_of(4, 4), ".webp": image_of(4, 4),
              ".wav": audio_of(100, 4000.0), ".npy": REALS, ".npz": REALS,
              ".mkv": video_of(3)}  # fmt: skip
    refused = dict.fromkeys(inputs, 0)
    for ending, i in inputs.items():
        whole = (tmp_path / f"x{ending}").read_bytes()
        for _ in range(25):
            data = bytearray(whole)
            for at in rng.integers(0, len(data), rng.integers(1, 5)):
                data[at] = rng.integers(0, 256)
            cut = rng.integers(1, len(data)) if rng.random() < 0.3 else len(data)
            (tmp_path / f"y{ending}").write_bytes(bytes(data[:cut]))
            try:
                made = read(i, tmp_path / f"y{ending}")
                assert made.shape == i.port.shape and made.dtype == np.float32
            except RunError as error:
                assert "\n" not in str(error) and str(error).startswith("input ")
                refused[ending] += 1
    assert all(refused.values()), refused
