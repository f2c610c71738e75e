"""Models from Hugging Face, by its own client, and from Ollama's registry: each against a server that speaks the protocol."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import BadModelFile, DigestMismatch, SourceUnreachable, StoreError
from freehold.store.manifest import Manifest
from freehold.store.ollama.templates import family_of, jinja_of
from freehold.store.progress import Progress
from freehold.store.pull import pull
from freehold.store.quants import candidates, choose, projector, quantization_of
from freehold.store.sources import hf
from freehold.store.store import Store
from tests.store.hubs import REVISION, Registry, Repository
from tests.store.parts import Web, sha256, web_server, write_gguf


def quiet(progress: Progress) -> None:
    pass


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, web: Web) -> None:
    """No token and no cache of this machine; the hub is the local one."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("HF_ENDPOINT", web.url)


@pytest.fixture
def repository(web: Web, tmp_path: Path) -> Repository:
    """Three quantisations of one model, a projector in two precisions, and what else lies in such a repository."""
    files = {
        f"Tiny-{kind}.gguf": write_gguf(tmp_path / kind, seed=number) for number, kind in enumerate(("Q4_K_M", "Q8_0", "BF16"))
    }
    files |= {
        f"mmproj-{kind}.gguf": write_gguf(tmp_path / f"mm{kind}", arch="clip", seed=9, clip__has_vision_encoder=True)
        for kind in ("F16", "F32")
    }
    files |= {"README.md": write_gguf(tmp_path / "readme"), "imatrix-Q4_0.gguf": write_gguf(tmp_path / "imatrix", seed=8)}
    made = Repository(web, "org/Tiny-GGUF", files)
    made.serve()
    return made


def get(store: Store, reference: str, **options: Any) -> Manifest:
    return pull(store, reference, on_progress=quiet, **options)


def ranged(web: Web) -> list[str]:
    return [path for path, _ in web.requests if path.startswith("/lfs/")]


# --- Hugging Face


def test_the_preferred_quantisation_comes_with_its_projector(store: Store, web: Web, repository: Repository) -> None:
    model = get(store, "hf:org/Tiny-GGUF")
    assert (model.name, model.license, model.source) == ("Tiny-Q4_K_M", "apache-2.0", "hf:org/Tiny-GGUF")
    assert [(file.role, file.name) for file in model.files] == [
        ("weights", "Tiny-Q4_K_M.gguf"),
        ("projector", "mmproj-F16.gguf"),
    ]
    store.verify(model.name)
    assert any(f"/resolve/{REVISION}/" in path for path, _ in web.requests)  # the commit that was listed, not what main is now


@pytest.mark.parametrize(
    "reference",
    [
        "hf:org/Tiny-GGUF:Q8_0",
        "hf:org/Tiny-GGUF:q8_0",
        "hf:org/Tiny-GGUF:Tiny-Q8_0.gguf",
        "hf:org/Tiny-GGUF/Tiny-Q8_0.gguf",
        "hf:org/Tiny-GGUF@main:Q8_0",
        "hf.co/org/Tiny-GGUF:Q8_0",
        "huggingface.co/org/Tiny-GGUF:Q8_0",
        "https://huggingface.co/org/Tiny-GGUF/blob/main/Tiny-Q8_0.gguf",
        "https://hf.co/org/Tiny-GGUF/resolve/main/Tiny-Q8_0.gguf?download=true",
    ],
)
def test_a_quantisation_is_asked_for_in_any_way(store: Store, repository: Repository, reference: str) -> None:
    assert get(store, reference).files[0].digest == f"sha256:{sha256(repository.files['Tiny-Q8_0.gguf'])}"


def test_what_is_not_there_is_answered_with_what_is(store: Store, repository: Repository) -> None:
    with pytest.raises(StoreError, match="no 'Q2_K'") as caught:
        get(store, "hf:org/Tiny-GGUF:Q2_K")
    assert caught.value.remedy == "It has: BF16, Q4_K_M, Q8_0"
    with pytest.raises(StoreError, match=r"no file 'other\.gguf'"):
        get(store, "hf:org/Tiny-GGUF/other.gguf")
    with pytest.raises(StoreError, match="revision"):
        get(store, "hf:org/Tiny-GGUF@other")
    with pytest.raises(SourceUnreachable, match="no repository org/none") as caught:
        get(store, "hf:org/none")
    assert "HF_TOKEN" in caught.value.remedy


def test_a_model_in_parts_comes_whole_with_one_progress(store: Store, web: Web, tmp_path: Path) -> None:
    parts = {
        f"Q4_0/Big-Q4_0-{number + 1:05d}-of-00003.gguf": write_gguf(
            tmp_path / f"p{number}", seed=number, split__count=3, split__no=number, rename=f"t{number}" if number else ""
        )
        for number in range(3)
    }
    Repository(web, "org/Big", parts).serve()
    seen: list[Progress] = []
    model = pull(store, "hf:org/Big", on_progress=seen.append)
    total = sum(path.stat().st_size for path in parts.values())
    assert (model.name, model.size) == ("Big-Q4_0", total)
    assert {progress.total for progress in seen if progress.stage == "download"} == {total}
    downloads = [progress.done for progress in seen if progress.stage == "download"]
    assert downloads == sorted(downloads)
    assert downloads[-1] == total
    assert model.facts is not None
    assert model.facts.parameters == 3 * (40 * 32 + 32)
    first = store.serving(model, "weights")
    assert first is not None
    assert first.name == "model-00001-of-00003.gguf"


def test_a_set_that_lacks_a_part_is_not_offered(store: Store, web: Web, tmp_path: Path) -> None:
    Repository(web, "org/Half", {"x-Q4_0-00001-of-00002.gguf": write_gguf(tmp_path / "x")}).serve()
    with pytest.raises(StoreError, match="no GGUF file"):
        get(store, "hf:org/Half")


def test_what_is_here_is_not_fetched_again(store: Store, web: Web, repository: Repository) -> None:
    first = get(store, "hf:org/Tiny-GGUF")
    before = len(ranged(web))
    assert get(store, "hf:org/Tiny-GGUF") == first  # nothing changed, not even the time: a worker goes on
    assert get(store, "hf:org/Tiny-GGUF", name="other").files == first.files
    assert len(ranged(web)) == before


def test_a_token_is_sent_to_the_hub_and_not_to_where_the_file_is(
    store: Store, web: Web, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.token = "hf_secret"
    with pytest.raises(SourceUnreachable, match="that you may read"):
        get(store, "hf:org/Tiny-GGUF")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with web_server(web.root) as storage:
        original = repository._answer

        def elsewhere(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
            status, answer, body = original(path, headers)
            if "Location" in answer:
                answer["Location"] = answer["Location"].replace(web.url, storage.url)
            return status, answer, body

        for prefix in list(web.routes):
            web.routes[prefix] = elsewhere
        get(store, "hf:org/Tiny-GGUF:Q8_0")
        assert storage.requests
        assert all("Authorization" not in headers for _, headers in storage.requests)
    assert "hf_secret" not in "".join(path.read_text() for path in (store.data_dir / "models" / "manifests").iterdir())


def test_a_gated_repository_is_told_with_the_way_in(store: Store, web: Web, repository: Repository) -> None:
    repository.gated = True
    with pytest.raises(SourceUnreachable, match="is gated") as caught:
        get(store, "hf:org/Tiny-GGUF")
    assert f"{web.url}/org/Tiny-GGUF" in caught.value.remedy
    assert "HF_TOKEN" in caught.value.remedy
    assert store.list() == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_in_trouble_is_named(store: Store, web: Web, repository: Repository, status: int) -> None:
    web.status, web.headers = [status] * 20, {"Retry-After": "7"}
    with pytest.raises(SourceUnreachable, match=str(status) if status != 429 else "too often") as caught:
        get(store, "hf:org/Tiny-GGUF")
    if status == 429:
        assert "in 7 seconds" in caught.value.remedy


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"null", b'{"siblings": 5}', b'{"siblings": [{"rfilename": 5}]}', b"[" * 100_000, b'{"siblings": [[]]}'],
)
def test_a_hub_that_talks_nonsense_is_named(store: Store, web: Web, body: bytes) -> None:
    web.routes["/api/models/"] = lambda path, headers: (200, {}, body)
    with pytest.raises(StoreError):
        get(store, "hf:org/Tiny-GGUF")
    assert store.list() == []


def test_an_answer_without_end_is_cut_off(store: Store, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freehold.store.sources.hub._LARGEST", 10_000)
    web.routes["/api/models/"] = lambda path, headers: (200, {}, b" " * 100_000)
    with pytest.raises(SourceUnreachable, match="larger than it can be"):
        get(store, "hf:org/Tiny-GGUF")
    web.routes["/api/models/"] = lambda path, headers: (200, {"Content-Encoding": "gzip"}, b"x")
    with pytest.raises(SourceUnreachable, match="encoding"):
        get(store, "hf:org/Tiny-GGUF")


def test_names_of_files_that_would_lead_elsewhere_are_passed_over(store: Store, web: Web, repository: Repository) -> None:
    good = {"rfilename": "Tiny-Q8_0.gguf", "size": repository.files["Tiny-Q8_0.gguf"].stat().st_size}
    bad = [
        "../../etc/x-Q4_0.gguf",
        "/etc/x-Q4_0.gguf",
        "a/../x-Q4_0.gguf",
        "x\0-Q4_0.gguf",
        "..\\x-Q4_0.gguf",
        "ä-Q4_0.gguf",
        ".x-Q4_0.gguf",
    ]
    bad += ["https://example.com/x-Q4_0.gguf", "x" * 600 + "-Q4_0.gguf", "a//x-Q4_0.gguf", "x%2f-Q4_0.gguf", "x\n-Q4_0.gguf"]
    repository.siblings = [*({"rfilename": name, "size": 5} for name in bad), good]
    assert get(store, "hf:org/Tiny-GGUF").name == "Tiny-Q8_0"
    assert all("Q4_0" not in path for path, _ in web.requests)


def test_a_hub_that_is_not_there_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SourceUnreachable, match=r"127\.0\.0\.1:9 cannot be reached"):
        get(store, "hf:org/Tiny-GGUF")
    monkeypatch.setenv("HF_ENDPOINT", "http://example.com")
    with pytest.raises(StoreError, match="https only"):
        get(store, "hf:org/Tiny-GGUF")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("Qwen3-4B-Q4_K_M.gguf", "Q4_K_M"),
        ("qwen3-4b-q8_0.gguf", "Q8_0"),
        ("model.IQ4_XS.gguf", "IQ4_XS"),
        ("UD-Q4_K_XL/Big-UD-Q4_K_XL-00001-of-00003.gguf", "UD-Q4_K_XL"),
        ("gemma-3-4b-it-qat-q4_0.gguf", "Q4_0"),
        ("model-fp16.gguf", "F16"),
        ("gpt-oss-20b-MXFP4.gguf", "MXFP4"),
        ("Phi-4.gguf", ""),
        ("model-16.gguf", ""),
    ],
)
def test_a_quantisation_is_read_from_a_name(path: str, name: str) -> None:
    assert quantization_of(path) == name


def test_the_choice_among_files() -> None:
    assert choose(candidates(["a-Q8_0.gguf", "a-Q2_K.gguf", "a-Q4_0.gguf"]), None).quantization == "Q4_0"
    assert choose(candidates(["only.gguf"]), None).paths == ("only.gguf",)
    with pytest.raises(StoreError, match="2 models in Q4_K_M"):
        choose(candidates(["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"]), None)
    assert projector(["mmproj-f32.gguf", "mmproj-f16.gguf", "x.gguf"], "x.gguf") == "mmproj-f16.gguf"
    assert projector(["a/mmproj.gguf", "b/mmproj.gguf"], "b/x.gguf") == "b/mmproj.gguf"
    assert projector(["x.gguf"], "x.gguf") is None


def test_links_that_are_no_models_are_refused() -> None:
    for link in ("https://huggingface.co/", "https://huggingface.co/datasets/a/b", "https://huggingface.co/a/b/commit/x"):
        with pytest.raises(StoreError):
            hf.of_link(link)
    assert hf.of_link("https://huggingface.co.evil.example/a/b") is None
    assert hf.of_link("https://example.com/a/b") is None


# --- Ollama's registry


@pytest.fixture
def registry(web: Web) -> Registry:
    return Registry(web)


PARAMS = {"temperature": 0.6, "top_k": 20, "stop": ["<|im_end|>"], "num_ctx": 4096, "num_gpu": 5, "top_p": "x", "num_keep": 24}
CHATML = "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>{{ end }}"


def model_bytes(tmp_path: Path, **options: Any) -> bytes:
    return write_gguf(tmp_path / "m", **options).read_bytes()


def test_a_model_comes_with_its_parameters_and_licence(store: Store, web: Web, registry: Registry, tmp_path: Path) -> None:
    mit = b"MIT License\n\nCopyright (c) someone"
    layers = {
        "model": model_bytes(tmp_path),
        "params": json.dumps(PARAMS).encode(),
        "template": CHATML.encode(),
        "license": mit,
    }
    registry.add("library/qwen3:4b", layers)
    model = get(store, "ollama:qwen3:4b", registry=web.url)
    assert (model.name, model.source, model.license) == ("qwen3:4b", "ollama:qwen3:4b", "MIT")
    assert model.sampling == {"temperature": 0.6, "top_k": 20, "stop": ("<|im_end|>",)}
    assert model.options == {"context": 4096}
    assert model.notes == ("Not honoured of its parameters: num_gpu, num_keep, top_p.",)
    assert model.file("chat_template") is None  # the weights have one of their own
    store.verify("qwen3:4b")
    before = len(web.requests)
    assert get(store, "ollama:qwen3:4b", registry=web.url) == model
    assert not [path for path, _ in web.requests[before:] if path.startswith("/blobs/") and sha256(tmp_path / "m") in path]


TURNS = b'[{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Arr."}]'


def test_what_a_model_says_first_comes_with_it(store: Store, web: Web, registry: Registry, tmp_path: Path) -> None:
    layers = {"model": model_bytes(tmp_path), "system": b"You are a pirate.\n", "messages": TURNS}
    registry.add("library/pirate:latest", layers)
    model = get(store, "ollama:pirate", registry=web.url)
    assert model.system == "You are a pirate.\n"
    assert (model.examples, model.notes) == ((("user", "Hello"), ("assistant", "Arr.")), ())
    registry.add("library/pirate:latest", layers | {"system": b"You are a parrot."})
    assert get(store, "ollama:pirate", registry=web.url).system == "You are a parrot."
    for words, said in (
        (b" \n", ()),
        (b"x" * 100_000, ("Its system message has more than 65,536 characters and is not used.",)),
    ):
        registry.add(f"library/other:{len(words)}", {"model": layers["model"], "system": words})
        other = get(store, f"ollama:other:{len(words)}", registry=web.url)
        assert (other.system, other.notes) == ("", said)
    registry.add("library/talker:latest", {"model": layers["model"], "messages": b'[{"role": "tool", "content": 7}]'})
    talker = get(store, "ollama:talker", registry=web.url)
    assert talker.examples == ()
    assert talker.notes == ("Its example conversation cannot be read, or is too long, and is not used.",)


def test_names_are_those_of_the_registry(store: Store, web: Web, registry: Registry, tmp_path: Path) -> None:
    registry.add("library/tiny:latest", {"model": model_bytes(tmp_path)})
    registry.add("someone/tiny:1b", {"model": model_bytes(tmp_path)})
    assert get(store, "ollama:tiny", registry=web.url).name == "tiny"
    assert get(store, "ollama:someone/tiny:1b", registry=f"{web.url}/").name == "someone/tiny:1b"
    with pytest.raises(SourceUnreachable, match="no model other"):
        get(store, "ollama:other", registry=web.url)
    registry.private.add("library/mine:latest")
    with pytest.raises(SourceUnreachable, match="to everyone"):
        get(store, "ollama:mine", registry=web.url)


def test_a_template_is_translated_where_the_weights_have_none(
    store: Store, web: Web, registry: Registry, tmp_path: Path
) -> None:
    weights = model_bytes(tmp_path, template=False)
    registry.add("library/a:latest", {"model": weights, "template": CHATML.encode()})
    model = get(store, "ollama:a", registry=web.url)
    template = store.serving(model, "chat_template")
    assert template is not None
    assert template.read_text() == jinja_of("chatml")
    registry.add("library/b:latest", {"model": weights, "template": b"### {{ .Prompt }}\n### Answer:"})
    assert "not known here" in get(store, "ollama:b", registry=web.url).notes[0]


@pytest.mark.parametrize(
    ("template", "family"),
    [
        (CHATML, "chatml"),
        ("<|start_header_id|>user<|end_header_id|>{{ .Prompt }}<|eot_id|>", "llama3"),
        ("[INST] <<SYS>>{{ .System }}<</SYS>> {{ .Prompt }} [/INST]", "llama2"),
        ("[INST] {{ .System }} {{ .Prompt }} [/INST]", "mistral"),
        ("<start_of_turn>user\n{{ .Prompt }}<end_of_turn>", "gemma"),
        ("<|user|>\n{{ .Prompt }}<|end|>\n<|assistant|>", "phi3"),
        ("{{ .Prompt }}", None),
    ],
)
def test_a_family_is_known_by_its_markers(template: str, family: Any) -> None:
    assert family_of(template) == family
    if family is not None:
        jinja2 = pytest.importorskip("jinja2")
        messages = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello."},
            {"role": "assistant", "content": "Hi."},
            {"role": "user", "content": "Bye."},
        ]
        text = jinja2.Template(jinja_of(family)).render(
            messages=messages, add_generation_prompt=True, bos_token="<s>", eos_token="</s>"
        )
        places = [text.index(word) for word in ("Be brief.", "Hello.", "Hi.", "Bye.")]
        assert places == sorted(places)
        assert not text.endswith("Bye.")  # the model's turn has begun


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda manifest: {}, "is no model"),
        (lambda manifest: {"layers": "x"}, "is no model"),
        (lambda manifest: {"layers": [{}] * 101}, "is no model"),
        (lambda manifest: {"layers": [5]}, "makes no sense"),
        (lambda manifest: {"layers": []}, "0 files of weights"),
        (lambda manifest: {"layers": manifest["layers"] * 2}, "2 files of weights"),
        (lambda manifest: {"layers": [manifest["layers"][0] | {"digest": "sha256:../../x"}]}, "makes no sense"),
        (lambda manifest: {"layers": [manifest["layers"][0] | {"digest": "sha256:" + "A" * 64}]}, "makes no sense"),
        (lambda manifest: {"layers": [manifest["layers"][0] | {"digest": None}]}, "makes no sense"),
        (lambda manifest: {"layers": [manifest["layers"][0] | {"size": -1}]}, "makes no sense"),
        (lambda manifest: {"layers": [manifest["layers"][0] | {"size": 1 << 60}]}, "makes no sense"),
        (lambda manifest: {"layers": [manifest["layers"][0] | {"size": True}]}, "makes no sense"),
        (lambda manifest: {"layers": [manifest["layers"][0] | {"mediaType": "application/vnd.ollama.image.tensor"}]}, "tensor"),
        (
            lambda manifest: {
                "layers": [
                    *manifest["layers"],
                    manifest["layers"][0] | {"mediaType": "application/vnd.ollama.image.params", "size": 1 << 21},
                ]
            },
            "makes no sense",
        ),
        (
            lambda manifest: {
                "layers": [
                    *manifest["layers"],
                    manifest["layers"][0] | {"mediaType": "application/vnd.ollama.image.adapter"},
                ]
            },
            "adapter",
        ),
    ],
)
def test_a_hostile_manifest_is_refused(
    store: Store, web: Web, registry: Registry, tmp_path: Path, change: Callable[[Any], Any], error: str
) -> None:
    registry.manifests["library/x:latest"] = change(registry.add("library/x:latest", {"model": model_bytes(tmp_path)}))
    with pytest.raises(BadModelFile, match=error):
        get(store, "ollama:x", registry=web.url)
    assert store.list() == []
    assert not [path for path, _ in web.requests if "/blobs/" in path]


def test_manifests_that_are_huge_or_no_json_are_refused(
    store: Store, web: Web, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.manifests["library/x:latest"] = b" " * (5 << 20)
    with pytest.raises(SourceUnreachable, match="larger than it can be"):
        get(store, "ollama:x", registry=web.url)
    for body in (b"<html>", b"[" * 100_000):
        registry.manifests["library/x:latest"] = body
        with pytest.raises(SourceUnreachable, match="not JSON"):
            get(store, "ollama:x", registry=web.url)


def test_a_layer_that_is_not_its_digest_is_refused(store: Store, web: Web, registry: Registry, tmp_path: Path) -> None:
    manifest = registry.add("library/x:latest", {"model": model_bytes(tmp_path), "params": b'{"top_k": 5}'})
    for layer in manifest["layers"]:
        blob = web.root / "blobs" / layer["digest"].removeprefix("sha256:")
        blob.write_bytes(blob.read_bytes()[:-1] + b" ")
        with pytest.raises(DigestMismatch):
            get(store, "ollama:x", registry=web.url)
    assert store.list() == []
