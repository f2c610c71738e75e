"""The zoo: a tiny model of each shape that people run, as its converter would have written it.

What each architecture needs is read from llama.cpp's src/models/*.cpp; the sizes are as small as its kernels allow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.zoo import templates, tokenizers
from tests.zoo.blocks import (
    Dims,
    Tensors,
    attention,
    encoder,
    experts,
    feed_forward,
    head_norms,
    latent_attention,
    linear,
    mamba,
    mamba2,
    model,
    norm,
)
from tests.zoo.build import Shape
from tests.zoo.tokenizers import Tokenizer

_LLAMA3_WORDS = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_GEMMA_WORDS = ("<start_of_turn>", "<end_of_turn>")

_SPM = tokenizers.spm()
_GEMMA = tokenizers.spm(_GEMMA_WORDS, add_space_prefix=False, eot=1)
_LLAMA3 = tokenizers.bpe("llama-bpe", _LLAMA3_WORDS, bos=0, eos=1, eot=4)
_QWEN = tokenizers.bpe("qwen2")


def _keys(d: Dims, blocks: int, *, rms: bool = True, **more: Any) -> dict[str, Any]:
    """What nearly every architecture writes; `more` has "__" where a key has a dot."""
    keys = {
        "context_length": d.context,
        "embedding_length": d.embd,
        "block_count": blocks,
        "feed_forward_length": d.ff,
        "attention.head_count": d.heads,
        "attention.head_count_kv": d.kv,
        f"attention.layer_norm{'_rms' if rms else ''}_epsilon": 1e-5,
    }
    return keys | {key.replace("__", "."): value for key, value in more.items()}


def _pre_norm(d: Dims, *, bias: bool = False) -> Tensors:
    return norm("attn_norm", d.embd, bias) | norm("ffn_norm", d.embd, bias)


def _plain(d: Dims) -> Tensors:
    """A Llama block."""
    return _pre_norm(d) | attention(d) | feed_forward(d)


def _llama(name: str, tokenizer: Tokenizer, template: str | None, **changes: Any) -> Shape:
    d = changes.pop("dims", None) or Dims(len(tokenizer))
    keys = _keys(d, 2, rope__dimension_count=d.head, **changes.pop("keys", {}))
    tensors = changes.pop("tensors", None) or model(d, [_plain(d)] * 2)
    return Shape(name, "llama", keys, tensors, tokenizer, template, **changes)


def _decoder(
    name: str, arch: str, tokenizer: Tokenizer, block: Callable[[Dims], Tensors], *, blocks: int = 2, **changes: Any
) -> Shape:
    """A decoder of equal blocks. `keys` are added to the usual ones, `whole` goes to `model`."""
    d = changes.pop("dims", None) or Dims(len(tokenizer))
    keys = _keys(d, blocks, rms=changes.pop("rms", True), **changes.pop("keys", {}))
    tensors = model(d, [block(d)] * blocks, **changes.pop("whole", {}))
    return Shape(name, arch, keys, tensors, tokenizer, **changes)


def _llamas() -> list[Shape]:
    d = Dims(len(_LLAMA3))
    spm = Dims(len(_SPM))
    many = replace(spm, kv=4)
    biased = _pre_norm(spm) | attention(spm, bias=True) | feed_forward(spm, bias=True)
    mixture = _pre_norm(spm) | attention(spm) | experts(spm, 4, spm.ff)
    return [
        _llama("llama-gqa", _LLAMA3, templates.LLAMA3),
        _llama("llama-mha", _SPM, templates.INST, dims=many),
        _llama("llama-tied", _LLAMA3, templates.LLAMA3, tensors=model(d, [_plain(d)] * 2, tied=True), kind="BF16"),
        _llama(
            "llama-rope-scaled",
            _LLAMA3,
            templates.LLAMA3,
            tensors=model(d, [_plain(d)] * 2, extra={"rope_freqs.weight": (d.head // 2,)}),
            keys={"rope__freq_base": 500_000.0},
        ),
        _llama(
            "llama-linear-rope",
            _SPM,
            templates.INST,
            keys={"rope__scaling__type": "linear", "rope__scaling__factor": 4.0, "rope__freq_base": 10_000.0},
        ),
        _llama("llama-biases", _SPM, templates.INST, tensors=model(spm, [biased] * 2)),
        _llama("llama-without-template", _SPM, None, kind="F16"),
        _llama("llama-sharded", _SPM, templates.INST, parts=3),
        _llama("llama-q8", _QWEN, templates.CHATML, kind="Q8_0"),
        _llama("llama-q4", _QWEN, templates.TOOLS, kind="Q4_0"),
        _llama(
            "mistral",
            _SPM,
            templates.INST,
            keys={"attention__sliding_window": 64, "rope__freq_base": 10_000.0},
        ),
        _llama(
            "mixtral",
            _SPM,
            templates.INST,
            tensors=model(spm, [mixture] * 2),
            keys={"expert_count": 4, "expert_used_count": 2},
        ),
    ]


def _qwens() -> list[Shape]:
    d = Dims(len(_QWEN))

    def qwen2(d: Dims) -> Tensors:
        return _pre_norm(d) | attention(d, bias=True, out_bias=False) | feed_forward(d)

    def qwen3(d: Dims) -> Tensors:
        return _pre_norm(d) | attention(d) | head_norms(d) | feed_forward(d)

    def qwen3moe(d: Dims) -> Tensors:
        return _pre_norm(d) | attention(d) | head_norms(d) | experts(d, 4, 32)

    def qwen2moe(d: Dims) -> Tensors:
        shared = experts(d, 4, 32, shared=64) | {"ffn_gate_inp_shexp.weight": (d.embd,)}
        return _pre_norm(d) | attention(d, bias=True, out_bias=False) | shared

    wide = replace(d, head=32)
    head = {"attention__key_length": 32, "attention__value_length": 32, "rope__freq_base": 1_000_000.0}
    moe = {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 32}
    return [
        _decoder("qwen2", "qwen2", _QWEN, qwen2, template=templates.TOOLS, whole={"tied": True}, kind="Q8_0"),
        _decoder("qwen3", "qwen3", _QWEN, qwen3, dims=wide, keys=head, template=templates.TOOLS),
        _decoder("qwen3-moe", "qwen3moe", _QWEN, qwen3moe, dims=wide, keys=head | moe, template=templates.CHATML),
        _decoder(
            "qwen2-moe",
            "qwen2moe",
            _QWEN,
            qwen2moe,
            keys=moe | {"expert_shared_feed_forward_length": 64},
            template=templates.CHATML,
        ),
        _decoder(
            "qwen3-embedding",
            "qwen3",
            _QWEN,
            qwen3,
            dims=wide,
            keys=head | {"pooling_type": 3},
            whole={"tied": True},
            task="embedding",
            kind="F16",
        ),
    ]


def _gemmas() -> list[Shape]:
    def gemma2(d: Dims) -> Tensors:
        after = norm("post_attention_norm", d.embd) | norm("post_ffw_norm", d.embd)
        return _pre_norm(d) | attention(d) | feed_forward(d) | after

    def gemma3(d: Dims) -> Tensors:
        return gemma2(d) | head_norms(d)

    head = {"attention__key_length": 16, "attention__value_length": 16}
    return [
        _decoder(
            "gemma2",
            "gemma2",
            _GEMMA,
            gemma2,
            keys=head | {"attention__sliding_window": 64, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
            whole={"tied": True},
            template=templates.GEMMA,
        ),
        _decoder(
            "gemma3",
            "gemma3",
            _GEMMA,
            gemma3,
            blocks=6,
            keys=head | {"attention__sliding_window": 64, "rope__freq_base": 1_000_000.0},
            whole={"tied": True},
            template=templates.GEMMA,
        ),
    ]


def _llama_likes() -> list[Shape]:
    """Architectures of their own that are close to a Llama."""
    tekken = tokenizers.bpe("tekken", ("<unk>", "<s>", "</s>", "[INST]", "[/INST]"), bos=1, eos=2)
    glm = tokenizers.bpe("glm4", ("<|endoftext|>", "<|user|>", "<|assistant|>"), eos=0)
    cohere = tokenizers.bpe("command-r", ("<BOS_TOKEN>", "<EOS_TOKEN>"), bos=0, eos=1)
    smol = tokenizers.bpe("smaug-bpe", bos=1)

    def olmo2(d: Dims) -> Tensors:
        after = norm("post_attention_norm", d.embd) | norm("post_ffw_norm", d.embd)
        return attention(d) | norm("attn_q_norm", d.q) | norm("attn_k_norm", d.k) | feed_forward(d) | after

    def glm4(d: Dims) -> Tensors:
        after = norm("post_attention_norm", d.embd) | norm("post_ffw_norm", d.embd)
        return _pre_norm(d) | attention(d) | feed_forward(d, gate=False, wide=2) | after

    def command_r(d: Dims) -> Tensors:
        return norm("attn_norm", d.embd) | attention(d) | feed_forward(d)

    def stablelm(d: Dims) -> Tensors:
        return _pre_norm(d, bias=True) | attention(d, bias=True, out_bias=False) | feed_forward(d)

    ministral = {
        "attention__key_length": 32,
        "attention__value_length": 32,
        "rope__dimension_count": 32,
        "rope__scaling__type": "yarn",
        "rope__scaling__factor": 16.0,
        "rope__scaling__original_context_length": 256,
        "attention__temperature_scale": 0.1,
    }
    granite = {"logit_scale": 8.0, "residual_scale": 0.22, "embedding_scale": 12.0, "attention__scale": 0.015625}
    return [
        _decoder(
            "ministral", "mistral3", tekken, _plain, dims=Dims(len(tekken), head=32), keys=ministral, template=templates.INST
        ),
        _decoder("olmo2", "olmo2", tokenizers.bpe("dbrx"), olmo2, template=templates.CHATML),
        _decoder("granite", "granite", tokenizers.bpe("refact"), _plain, keys=granite, whole={"tied": True}, kind="BF16"),
        _decoder("glm4", "glm4", glm, glm4, keys={"rope__dimension_count": 8}),
        _decoder("command-r", "command-r", cohere, command_r, rms=False, keys={"logit_scale": 0.0625}, whole={"tied": True}),
        _decoder("smollm3", "smollm3", smol, _plain, blocks=4, whole={"tied": True}, template=templates.TOOLS),
        _decoder(
            "stablelm",
            "stablelm",
            tokenizers.bpe("stablelm2"),
            stablelm,
            rms=False,
            keys={"rope__dimension_count": 4},
            whole={"bias": True},
            template=templates.CHATML,
        ),
        _decoder("internlm2", "internlm2", _SPM, _plain, template=templates.CHATML),
        _decoder("minicpm", "minicpm", _SPM, _plain, keys={"rope__dimension_count": 16}, whole={"tied": True}),
    ]


def _older() -> list[Shape]:
    """Decoders with layer norms, biases and learnt positions."""
    gpt2 = tokenizers.bpe("gpt-2", ("<|endoftext|>",), bos=0, eos=0)
    phi = tokenizers.spm(("<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"), eot=3)
    fim = ("<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>")
    coder = tokenizers.bpe("starcoder", fim, bos=0, eos=0, fim_pre=1, fim_mid=2, fim_suf=3, fim_pad=4)
    full = Dims(len(gpt2), kv=4)

    def gpt(d: Dims) -> Tensors:
        return _pre_norm(d, bias=True) | attention(d, bias=True, fused=True) | feed_forward(d, gate=False, bias=True)

    def phi2(d: Dims) -> Tensors:
        return norm("attn_norm", d.embd, True) | attention(d, bias=True) | feed_forward(d, gate=False, bias=True)

    def phi3(d: Dims) -> Tensors:
        return _pre_norm(d) | attention(d, fused=True) | feed_forward(d, gate=False, wide=2)

    def starcoder2(d: Dims) -> Tensors:
        return _pre_norm(d, bias=True) | attention(d, bias=True) | feed_forward(d, gate=False, bias=True)

    def falcon(d: Dims) -> Tensors:
        return norm("attn_norm", d.embd, True) | attention(d, fused=True) | feed_forward(d, gate=False)

    positions = {"position_embd.weight": (full.embd, full.context)}
    return [
        _decoder("gpt2", "gpt2", gpt2, gpt, dims=full, rms=False, whole={"bias": True, "tied": True, "extra": positions}),
        _decoder(
            "gptneox",
            "gptneox",
            gpt2,
            gpt,
            dims=full,
            rms=False,
            keys={"use_parallel_residual": True, "rope__dimension_count": 4},
            whole={"bias": True},
        ),
        _decoder(
            "phi2",
            "phi2",
            gpt2,
            phi2,
            dims=full,
            rms=False,
            keys={"rope__dimension_count": 8},
            whole={"bias": True, "head_bias": True},
        ),
        _decoder("phi3", "phi3", phi, phi3, keys={"rope__dimension_count": 16}, template=templates.CHATML),
        _decoder("starcoder2", "starcoder2", coder, starcoder2, rms=False, whole={"bias": True, "tied": True}),
        _decoder("falcon", "falcon", gpt2, falcon, dims=replace(full, kv=1), rms=False, whole={"bias": True}),
    ]


def _mixtures() -> list[Shape]:
    deepseek = tokenizers.bpe("deepseek-v3", ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"), bos=0, eos=1)
    harmony = tokenizers.bpe("gpt-4o", ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>"), eos=4)
    d = Dims(len(deepseek), kv=1)
    latent = latent_attention(d, q_rank=32, kv_rank=32, rope=16, nope=16, value=16)
    dense = _pre_norm(d) | latent | feed_forward(d)
    mixed = _pre_norm(d) | latent | experts(d, 4, 32, shared=32) | {"exp_probs_b.bias": (4,)}
    mla = _keys(
        d,
        3,
        vocab_size=len(deepseek),
        leading_dense_block_count=1,
        attention__q_lora_rank=32,
        attention__kv_lora_rank=32,
        attention__key_length=48,
        attention__value_length=32,
        attention__key_length_mla=32,
        attention__value_length_mla=16,
        rope__dimension_count=16,
        expert_count=4,
        expert_used_count=2,
        expert_shared_count=1,
        expert_feed_forward_length=32,
        expert_weights_scale=2.5,
        expert_weights_norm=True,
        expert_gating_func=2,
    )

    def oss(d: Dims) -> Tensors:
        sinks = {"attn_sinks.weight": (d.heads,)}
        norms = norm("attn_norm", d.embd) | norm("post_attention_norm", d.embd)
        return norms | attention(d, bias=True) | sinks | experts(d, 4, 32, bias=True)

    head = {"attention__key_length": 32, "attention__value_length": 32, "rope__dimension_count": 32}
    moe = {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 32, "attention__sliding_window": 64}
    return [
        Shape("deepseek2", "deepseek2", mla, model(d, [dense, mixed, mixed]), deepseek),
        _decoder("gpt-oss", "gpt-oss", harmony, oss, dims=Dims(len(harmony), head=32), keys=head | moe),
    ]


def _recurrent() -> list[Shape]:
    neox = tokenizers.bpe("olmo", ("<|endoftext|>",), bos=0, eos=0)
    d = Dims(len(neox))
    state = {"context_length": 1 << 20, "embedding_length": d.embd, "block_count": 2, "feed_forward_length": 0}
    ssm = {"ssm.conv_kernel": 4, "ssm.inner_size": 128, "ssm.state_size": 16, "attention.layer_norm_rms_epsilon": 1e-5}
    one = norm("attn_norm", d.embd) | mamba(d, state=16, rank=4)
    two = norm("attn_norm", d.embd) | mamba2(d, state=16, heads=8, groups=1)
    conv = {"shortconv.conv.weight": (3, d.embd), **linear("shortconv.in_proj", d.embd, 3 * d.embd)}
    conv |= linear("shortconv.out_proj", d.embd, d.embd)
    lfm = Dims(len(_QWEN))
    short, attends = (
        _pre_norm(lfm) | conv | feed_forward(lfm),
        _pre_norm(lfm) | attention(lfm) | head_norms(lfm) | feed_forward(lfm),
    )
    lfm_tensors = model(lfm, [short, short, attends], tied=True)
    lfm_tensors["token_embd_norm.weight"] = lfm_tensors.pop("output_norm.weight")
    jamba = Dims(len(_SPM))
    scans = _pre_norm(jamba) | mamba(jamba, state=16, rank=4, norms=True)
    return [
        Shape(
            "mamba",
            "mamba",
            state | ssm | {"ssm.time_step_rank": 4, "attention.head_count": 0},
            model(d, [one] * 2, tied=True),
            neox,
        ),
        Shape(
            "mamba2",
            "mamba2",
            state | ssm | {"ssm.time_step_rank": 8, "ssm.group_count": 1, "attention.head_count": 0},
            model(d, [two] * 2, tied=True),
            neox,
        ),
        Shape(
            "lfm2",
            "lfm2",
            _keys(lfm, 3, vocab_size=lfm.vocab, shortconv__l_cache=3) | {"attention.head_count_kv": [0, 0, 2]},
            lfm_tensors,
            _QWEN,
            templates.CHATML,
        ),
        Shape(
            "jamba",
            "jamba",
            _keys(jamba, 2) | ssm | {"ssm.time_step_rank": 4, "attention.head_count_kv": [0, 2]},
            model(
                jamba,
                [scans | feed_forward(jamba), _pre_norm(jamba) | attention(jamba) | experts(jamba, 4, jamba.ff)],
            ),
            _SPM,
            None,
            general={"jamba.expert_count": 4, "jamba.expert_used_count": 2},
        ),
    ]


def _embedders() -> list[Shape]:
    words = tokenizers.wordpiece()
    d = Dims(len(words), kv=4)
    xlm = tokenizers.unigram()
    x = Dims(len(xlm), kv=4)
    keys = _keys(d, 2, rms=False, attention__causal=False, pooling_type=1)
    bert = attention(d, bias=True) | feed_forward(d, gate=False, bias=True)
    multilingual = attention(x, bias=True) | feed_forward(x, gate=False, bias=True)
    return [
        Shape("bert", "bert", keys, encoder(d, [bert] * 2, positions=True), words, task="embedding"),
        Shape(
            "bge-m3",
            "bert",
            _keys(x, 2, rms=False, attention__causal=False, pooling_type=2),
            encoder(x, [multilingual] * 2, types=1, positions=True),
            xlm,
            task="embedding",
        ),
        Shape(
            "nomic-bert",
            "nomic-bert",
            keys | {"rope.freq_base": 1000.0},
            encoder(d, [attention(d, fused=True) | feed_forward(d)] * 2),
            words,
            task="embedding",
            kind="F16",
        ),
        Shape(
            "jina-bert",
            "jina-bert-v2",
            keys,
            encoder(d, [attention(d, bias=True) | feed_forward(d) | {"ffn_down.bias": (d.embd,)}] * 2),
            words,
            task="embedding",
        ),
        *_rankers(),
    ]


def _rankers() -> list[Shape]:
    """Cross-encoders: the head of a RoBERTa, that of Jina's which ends in its dense layer, and a decoder's two answers."""
    words, xlm = tokenizers.wordpiece(), tokenizers.unigram()
    d, x = Dims(len(words), kv=4), Dims(len(xlm), kv=4)
    q = Dims(len(_QWEN), head=32)
    roberta = linear("cls", x.embd, x.embd, True) | linear("cls.output", x.embd, 1, True)
    multilingual = attention(x, bias=True) | feed_forward(x, gate=False, bias=True)
    jina = attention(d, bias=True) | feed_forward(d) | {"ffn_down.bias": (d.embd,)}
    qwen = _pre_norm(q) | attention(q) | head_norms(q) | feed_forward(q)
    heads = {"attention__key_length": 32, "attention__value_length": 32, "rope__freq_base": 1_000_000.0}
    return [
        Shape(
            "bge-reranker",
            "bert",
            _keys(x, 2, rms=False, attention__causal=False),
            encoder(x, [multilingual] * 2, types=1, positions=True) | roberta,
            xlm,
            task="rerank",
        ),
        Shape(
            "jina-ranker",
            "jina-bert-v2",
            _keys(d, 2, rms=False, attention__causal=False, pooling_type=4),
            encoder(d, [jina] * 2) | linear("cls", d.embd, 1, True),
            words,
            task="rerank",
        ),
        Shape(
            "qwen3-reranker",
            "qwen3",
            _keys(q, 2, **heads, pooling_type=4, classifier__output_labels=["yes", "no"]),
            model(q, [qwen] * 2, tied=True) | linear("cls.output", q.embd, 2),
            _QWEN,
            task="rerank",
            general={"tokenizer.chat_template.rerank": "Q {query} D {document} A"},
        ),
    ]


def zoo() -> list[Shape]:
    """All shapes."""
    return [
        *_llamas(),
        *_qwens(),
        *_gemmas(),
        *_llama_likes(),
        *_older(),
        *_mixtures(),
        *_recurrent(),
        *_embedders(),
    ]
