import base64
import contextlib
import json
import re
import shutil

import numpy as np
import pytest

from experiments.explorer import content, opened, page
from sae_jax import errors
from sae_jax.analysis import directions
from sae_jax.train import evaluate

BEFORE, AFTER = 6, 3


@pytest.fixture(scope="module")
def written(run_on_tokens, program, tmp_path_factory):
    """The page of the run."""
    out = tmp_path_factory.mktemp("page") / "page.html"
    flags = (f"--before={BEFORE}", f"--after={AFTER}", "--top=4", "--each=2", "--batch_size=100")
    result = program("experiments.explore", f"--workdir={run_on_tokens}", f"--out={out}", *flags)
    assert result.returncode == 0, result.stderr
    assert "96 latents" in result.stdout
    return out


def _data(path):
    """What a page holds, columns as arrays."""
    match = re.search(r'<script id="data" type="application/json">(.*?)</script>', path.read_text())
    data = json.loads(match[1])
    data["columns"] = {
        name: np.frombuffer(base64.b64decode(column["data"]), column["type"])
        for name, column in data["columns"].items()
    }
    return data


def _alone(codes, row):
    """Whether no other row has nearly the same code: these may come in another order."""
    return np.abs(np.delete(codes, row) - codes[row]).min() > 1e-4


def test_the_page_says_what_a_plain_computation_finds(written, run_on_tokens):
    data = _data(written)
    columns, vocab = data["columns"], data["vocab"]
    run_ = opened.load(run_on_tokens, "test")
    codes, _ = evaluate.Evaluator(run_.task.method, run_.task.mesh).encoded(run_.state, run_.data)
    np.testing.assert_allclose(columns["density"], (codes > 0).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(columns["largest"], codes.max(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(columns["histogram"].reshape(96, 32).sum(1), (codes > 0).sum(0))
    sequences, kept = run_.data.stores[0].sequences, run_.data.kept[0]

    def text(token):
        return run_.model.tokenizer.token_text(int(token))

    counts = columns["examples"].reshape(96, 6)
    context = active = 0
    for latent in range(96):
        best = np.argsort(-codes[:, latent], kind="stable")[: (codes[:, latent] > 0).sum()][:4]
        assert counts[latent, 0] == len(best)
        for place in range(counts[latent].sum()):
            start, length = int(columns["start"][context]), int(columns["length"][context])
            shown = [vocab[i] for i in columns["stream"][start : start + length]]
            n = int(columns["active"][context])
            where = columns["active_token"][active : active + n]
            share = columns["activation"][active : active + n]
            assert columns["peak"][context] in where
            if place < len(best):
                np.testing.assert_allclose(
                    columns["value"][context], codes[best[place], latent], rtol=1e-5
                )
            if place < len(best) and _alone(codes[:, latent], best[place]):
                row = kept.rows(best[place : place + 1])
                (sequence,), (position,) = sequences.places(row)
                first = max(position - BEFORE, 0)
                last = min(position + AFTER + 1, sequences.lengths[sequence])
                assert shown == [text(i) for i in sequences.ids[sequence, first:last]]
                documents = [-1, *sequences.documents, -1]
                begin = int(sequences.ids[sequence, 0] == run_.model.tokenizer.bos)
                goes_on = first > begin or documents[sequence] == documents[sequence + 1]
                assert bool(columns["cut"][context] & 1) == goes_on
                goes_on = last < sequences.lengths[sequence]
                goes_on |= documents[sequence + 1] == documents[sequence + 2]
                assert bool(columns["cut"][context] & 2) == goes_on
                rows = kept.index(sequences.starts[sequence] + np.arange(first, last))
                there = np.where(rows < 0, 0, codes[rows, latent]) / codes[:, latent].max()
                np.testing.assert_array_equal(where, np.flatnonzero(there > 0))
                np.testing.assert_allclose(share / 255, there[where], atol=1.01 / 255)
            context, active = context + 1, active + n
    assert context == len(columns["value"])
    assert active == len(columns["activation"])


def test_the_page_says_what_the_run_has_found(written, run_on_tokens, tmp_path):
    results = json.loads((run_on_tokens / "results.json").read_text())
    said = _data(written)["about"]["measured"]
    assert said.startswith(f"FVU {results['test/fvu']:.3g}, L0 {results['test/l0']:.3g}, ")
    assert f"loss recovered {100 * results['text/recovered_zero']:.1f} %" in said
    assert content.measured(tmp_path) == ""


def test_promoted_tokens_are_those_of_the_decoder_row_and_the_norms_gain(written, run_on_tokens):
    data = _data(written)
    run_ = opened.load(run_on_tokens, "test")
    scale = float(run_.state.normaliser["scale"])
    rows = np.asarray(run_.state.params["w_dec"], np.float64)
    found = directions.rows(run_.task.method, run_.state)
    np.testing.assert_allclose(found, rows / scale, rtol=1e-4, atol=1e-6)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    params = run_.model.params
    effect = (unit * np.asarray(params["norm"])) @ np.asarray(params["embed"], np.float64).T
    effect -= effect.mean(axis=1, keepdims=True)

    def text(token):
        return run_.model.tokenizer.token_text(int(token))

    for kind, order in (("promoted", -effect), ("suppressed", effect)):
        best = np.argsort(order, axis=1)[:, :10]
        values = data["columns"][f"{kind}_value"].reshape(96, 10)
        np.testing.assert_allclose(
            values, np.take_along_axis(effect, best, 1), rtol=1e-3, atol=1e-4
        )
        tokens = data["columns"][f"{kind}_token"].reshape(96, 10)
        assert [data["vocab"][i] for i in tokens[:, 0]] == [text(i) for i in best[:, 0]]
    cosine = unit @ unit.T - 3 * np.eye(96)
    np.testing.assert_array_equal(
        data["columns"]["nearest_latent"].reshape(96, 8)[:, 0], cosine.argmax(axis=1)
    )
    np.testing.assert_allclose(
        data["columns"]["nearest_cosine"].reshape(96, 8),
        -np.sort(-cosine, axis=1)[:, :8],
        atol=1e-5,
    )


def test_latents_are_named_by_numbers_and_ranges():
    np.testing.assert_array_equal(content.chosen("7, 2-4,3", 9), [2, 3, 4, 7])
    assert len(content.chosen("", 9)) == 9
    for text, said in (("9", "0 to 8"), ("3-12", "0 to 8"), ("4-2", "0 to 8"), ("a", "0-99,512")):
        with pytest.raises(errors.UserError, match=said):
            content.chosen(text, 9)


# What a page is refused for, in one line each.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "which run?"),
        (("--workdir=nowhere/at/all",), "no run in nowhere/at/all"),
        (("--workdir={run}", "--latents=96"), "latents are from 0 to 95"),
        (("--workdir={run}", "--split=nosuch"), '"nosuch"'),
        (("--workdir={run}", "--out=nowhere/at/all.html"), "there is no folder nowhere/at"),
        (("--workdir={run}", "--out=docs"), "--out=docs is a folder: name a file, docs/explore"),
    ],
)
def test_a_mistake_is_one_line(run_on_tokens, program, arguments, said):
    found = [argument.format(run=run_on_tokens) for argument in arguments]
    result = program("experiments.explore", *found)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert said in result.stderr.strip().splitlines()[-1]
    assert result.stderr.strip().splitlines()[-1].startswith("error: ")


def _copied(folder, tmp_path, **data):
    """A run as it is, but for keys of its data."""
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    config["data"].update(data)
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def test_a_run_without_tokens_is_refused(run_on_tokens, tmp_path):
    with pytest.raises(errors.UserError, match="was trained on mnist: only runs on a store"):
        opened.load(_copied(run_on_tokens, tmp_path / "a", name="mnist"), "test")
    with pytest.raises(errors.UserError, match="does not say which language model"):
        opened.load(_copied(run_on_tokens, tmp_path / "b", recipe=""), "test")


def test_a_store_of_another_model_is_refused(run_on_tokens, monkeypatch):
    (folder,) = json.loads((run_on_tokens / "config.json").read_text())["data"]["store"]
    load = opened.build.language_model
    monkeypatch.setattr(
        opened.build, "language_model", lambda group: load({**group, "language": "pt"})
    )
    with pytest.raises(errors.UserError, match=f"{folder} is of glassllm-en with weights"):
        opened.load(run_on_tokens, "test")


# In a browser.


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium: that of the system."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs sae_jax[test]")
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("needs a Chromium: apt-get install chromium-headless-shell")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@contextlib.contextmanager
def _opened(browser, path, place=""):
    """A page, of which nothing may go wrong and which may ask for nothing but itself."""
    wrong = []
    tab = browser.new_page(viewport={"width": 1300, "height": 850})
    tab.on("console", lambda message: wrong.append(message.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on(
        "request",
        lambda request: wrong.append(request.url) if not request.is_navigation_request() else None,
    )
    tab.goto(f"{path.as_uri()}{place}")
    tab.wait_for_selector("#latent > *")
    yield tab
    tab.close()
    assert not wrong


def _numbers(tab):
    return [int(text) for text in tab.locator(".row .number").all_inner_texts()]


def test_latents_are_listed_sorted_and_filtered(browser, written):
    columns = _data(written)["columns"]
    with _opened(browser, written) as tab:
        assert _numbers(tab)[:3] == [0, 1, 2]
        assert tab.locator("h2").inner_text() == "Latent 0"
        for key in ("density", "mean", "largest"):
            tab.select_option("#sort", key)
            order = np.lexsort((np.arange(96), -columns[key].astype(np.float64)))
            assert _numbers(tab)[:8] == order[:8].tolist()
        tab.click("#direction")
        order = np.lexsort((np.arange(96), columns["largest"].astype(np.float64)))
        assert _numbers(tab)[:8] == order[:8].tolist()
        percent = 100 * columns["density"].astype(np.float64)
        least, most = np.round(np.quantile(percent, (0.3, 0.7)), 5) + 1e-4
        tab.fill("#least", f"{least:.5f}")
        tab.fill("#most", f"{most:.5f}")
        wanted = ((percent >= least) & (percent <= most)).sum()
        assert 10 < wanted < 80
        assert tab.locator("#count").inner_text().startswith(f"{wanted} of 96 latents")


def test_latents_are_searched(browser, written):
    data = _data(written)
    columns, vocab = data["columns"], [token.lower() for token in data["vocab"]]
    counts = columns["examples"].reshape(96, 6).astype(int)
    first = np.cumsum([0, *counts.sum(axis=1)])
    top = [range(first[i], first[i] + counts[i, 0]) for i in range(96)]

    def tokens(context):
        start = int(columns["start"][context])
        stop = start + int(columns["length"][context])
        return [vocab[i] for i in columns["stream"][start:stop]]

    peak = tokens(0)[columns["peak"][0]].strip() or tokens(0)[0].strip()
    wanted = {
        "context": [i for i in range(96) if any(peak in "".join(tokens(c)) for c in top[i])],
        "promoted": [
            i
            for i in range(96)
            if any(peak in vocab[t] for t in columns["promoted_token"][10 * i : 10 * i + 10])
        ],
    }
    wanted["any"] = sorted({*wanted["context"], *wanted["promoted"]})
    with _opened(browser, written) as tab:
        tab.fill("#search", peak)
        for where, latents in wanted.items():
            tab.select_option("#where", where)
            tab.wait_for_selector(f"text=/^{len(latents)} (of 96 )?latents/")
            assert _numbers(tab)[:10] == latents[:10]
        tab.select_option("#where", "number")
        tab.fill("#search", "#17")
        tab.wait_for_selector("text=/^1 of 96 latents/")
        tab.press("#search", "Enter")
        tab.wait_for_selector("h2:has-text('Latent 17')")
        assert tab.evaluate("location.hash") == "#latent-17"


def test_a_latent_is_shown_with_its_contexts_highlighted(browser, written):
    data = _data(written)
    columns = data["columns"]
    latent = int(np.argmax(columns["largest"]))
    with _opened(browser, written, f"#latent-{latent}") as tab:
        assert tab.locator("h2").inner_text() == f"Latent {latent}"
        counts = columns["examples"].reshape(96, 6)
        assert tab.locator(".context").count() == counts[latent].sum()
        context = counts[:latent].sum()
        line = tab.locator(".context").first
        start = int(columns["start"][context])
        shown = [data["vocab"][i] for i in columns["stream"][start:][: columns["length"][context]]]
        assert line.locator(".t").all_text_contents()[1:] == shown[1:]
        colours = line.locator(".t").evaluate_all(
            "all => all.map(t => getComputedStyle(t).backgroundColor)"
        )
        coloured = [i for i, colour in enumerate(colours) if colour != "rgba(0, 0, 0, 0)"]
        n = columns["active"][:context].sum()
        assert coloured == columns["active_token"][n : n + columns["active"][context]].tolist()
        line.locator(".t.peak").hover()
        assert float(tab.locator("#tip").inner_text()) == pytest.approx(
            float(columns["value"][context]), rel=0.01
        )
        assert tab.locator("svg rect").count() == 32
        assert tab.locator(".tokens li").count() == 20
        chip = tab.locator(".chips a").first
        chip.click()
        tab.wait_for_selector(f"h2:has-text('Latent {columns['nearest_latent'][8 * latent]}')")
        tab.keyboard.press("j")
        following = int(columns["nearest_latent"][8 * latent]) + 1
        tab.wait_for_selector(f"h2:has-text('Latent {min(following, 95)}')")
        tab.goto(f"{written.as_uri()}#latent-4711")
        tab.wait_for_selector("text=Latent 4711 is not in this page.")


def _small(tokens):
    """Data of one latent with one context, of these tokens."""
    n = len(tokens)
    numbers = dict(
        number=[3], histogram=[1, 0], examples=[1, 0], start=[0], length=[n], peak=[0], active=[1]
    )
    numbers |= dict(active_token=[0], activation=[255], stream=range(n), nearest_latent=[3])
    numbers |= dict(promoted_token=[0], suppressed_token=[1], cut=[2])
    numbers = {name: np.array(list(values)) for name, values in numbers.items()}
    names = ("density", "mean", "largest", "value", "nearest_cosine")
    numbers |= dict.fromkeys((*names, "promoted_value", "suppressed_value"), np.ones(1))
    return {
        "about": {"title": "a </title> <b>", "text": "</script><b>", "measured": "FVU 0.5"},
        "settings": {"bins": 2, "bands": 1, "tokens": 1, "nearest": 1},
        "vocab": tokens,
        "columns": {name: page.column(values) for name, values in numbers.items()},
    }


def test_a_word_is_listed_once_and_a_text_that_goes_on_has_an_ellipsis(browser, tmp_path):
    data = _small(["M", " M", "W"])
    for name, values in dict(
        examples=[3, 0], start=[0, 1, 2], length=[1, 1, 1], peak=[0, 0, 0], active=[1, 1, 1]
    ).items():
        data["columns"][name] = page.column(np.array(values))
    for name, values in dict(active_token=[0, 0, 0], activation=[255, 9, 9], cut=[0, 1, 2]).items():
        data["columns"][name] = page.column(np.array(values))
    data["columns"]["value"] = page.column(np.ones(3))
    path = tmp_path / "page.html"
    path.write_text(page.page("x", data), encoding="utf-8")
    with _opened(browser, path, "#latent-3") as tab:
        assert tab.locator(".row .words").inner_text() == "M  W"
        assert tab.locator(".context p").all_text_contents() == ["M", "… M", "W…"]
        assert tab.locator("#measured").inner_text() == "FVU 0.5"
        assert "decoder row" in tab.locator("h3:has-text('Promotes')").get_attribute("title")
        tab.select_option("#where", "promoted")
        tab.fill("#search", "m")
        tab.wait_for_selector(".tokens .up.found")


def test_tokens_are_text_whatever_they_are(browser, tmp_path):
    tokens = ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!--", "&lt;"]
    tokens += ["%%data%%", "\u2028'\"\\", "</style>", "<b>bold</b>"]
    path = tmp_path / "page.html"
    path.write_text(page.page("a </title> <b>", _small(tokens)), encoding="utf-8")
    assert path.read_text().count("</script") == 2
    with _opened(browser, path, "#latent-3") as tab:
        assert tab.locator(".context .t").all_text_contents() == tokens
        assert tab.locator("b, img").count() == 0
        assert tab.locator("script").count() == 2
        assert tab.locator("h1").inner_text() == "a </title> <b>"


def test_a_script_from_elsewhere_may_not_run(browser, tmp_path):
    path = tmp_path / "page.html"
    whole = page.page("x", _small(["a", "b"]))
    path.write_text(whole.replace("</body>", "<script>window.ran = 1</script></body>"))
    tab = browser.new_page()
    tab.goto(path.as_uri())
    assert tab.evaluate("window.ran") is None
    assert tab.locator("h2").inner_text() == "Latent 3"
    tab.close()


def test_columns_are_as_small_as_they_can_be():
    for values, name in (
        ([0, 255], "uint8"),
        ([256], "uint16"),
        ([65536], "uint32"),
        ([0.5], "float32"),
    ):
        column = page.column(np.array(values))
        assert column["type"] == name
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(column["data"]), name), values)
