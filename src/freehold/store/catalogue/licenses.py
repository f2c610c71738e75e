"""The licences of the catalogue's models: the name that is shown, and what hubs tag a repository of it with."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# SPDX identifiers where there are any, else the names that the makers use; tags as in Hugging Face's model cards.
LICENSES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Apache-2.0": ("apache-2.0",),
        "MIT": ("mit",),
        "CC0-1.0": ("cc0-1.0",),
        "CC-BY-4.0": ("cc-by-4.0",),
        "CC-BY-NC-4.0": ("cc-by-nc-4.0",),
        "BigCode OpenRAIL-M": ("bigcode-openrail-m",),
        "CreativeML OpenRAIL-M": ("creativeml-openrail-m",),
        "CreativeML OpenRAIL++-M": ("openrail++",),
        "DeepSeek Model License": ("deepseek", "deepseek-license", "other"),
        "FLUX.1 [dev] Non-Commercial License": ("flux-1-dev-non-commercial-license", "other"),
        "Falcon LLM License": ("falcon-llm-license", "other"),
        "FunASR Model License": ("model-license", "other"),
        "Gemma Terms of Use": ("gemma",),
        "LFM Open License v1.0": ("lfm1.0", "other"),
        "Llama 2 Community License": ("llama2",),
        "Llama 3.1 Community License": ("llama3.1",),
        "Llama 3.2 Community License": ("llama3.2",),
        "Llama 3.3 Community License": ("llama3.3",),
        "Llama 4 Community License": ("llama4", "other"),
        "Mistral AI Non-Production License": ("mnpl", "other"),
        "Modified MIT": ("modified-mit", "other"),
        "NVIDIA Open Model License": ("nvidia-open-model-license", "other"),
        "OpenMDW-1.1": ("openmdw-1.1", "other"),
        "Other": ("other",),
        "Qwen Research License": ("qwen-research", "other"),
        "Stability AI Community License": ("stabilityai-ai-community", "other"),
    }
)
