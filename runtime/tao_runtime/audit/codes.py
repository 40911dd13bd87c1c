"""The registry of what an audit can find: each fault has one code, and says what it means and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from tao_runtime.errors import Finding, Fix, InputError, Severity


@dataclass(frozen=True, slots=True)
class Code:
    """A fault that has a name."""

    name: str  # audit/<name>
    severity: Severity
    doc: str
    fix: str


_ERRORS: Final = {
    # What cannot be looked at
    "unreadable": ("a file or folder that cannot be read", "allow reading it"),
    "empty-folder": ("a folder with nothing in it", "name the folder that the trainer wrote"),
    "unrecognised": ("nothing in the folder is a kind that is known", "name the folder that holds the weights"),
    "json": ("a JSON file that is broken, no object, or far too large", "write the file again"),
    "path-outside": ("a name that leads out of its folder: `..`, absolute, or a link", "put the file into the folder"),
    "pickle": ("weights in a pickle, which is never loaded here: it could run code", "save as safetensors"),
    # One safetensors file
    "not-safetensors": ("the file does not begin with a safetensors header", "save it again"),
    "header-length": ("the header says it is longer than the file, or than the format allows", "save it again"),
    "header-entry": ("an entry of the header contradicts itself: type, shape, offsets", "save it again"),
    "offsets-overlap": ("two tensors share bytes", "save it again"),
    "offsets-gap": ("bytes between tensors that belong to none; the format refuses it", "save it again"),
    "file-truncated": ("the file ends before its tensors do", "copy or save it again, and look at the free disk space"),
    "file-trailing": ("the file goes on after its last tensor; the format refuses it", "save it again"),
    "duplicate-tensor": ("a name that stands twice, in a header or in two shards", "remove the stale copy"),
    "empty-tensor": ("a tensor without elements: what a rank sees of a parameter it holds no part of",
                     "gather the whole parameter (full_tensor) before saving"),
    "non-finite": ("NaN or infinity among the weights", "go back to a checkpoint before the loss broke"),
    "zero-tensor": ("all zero, and not so in the base", "save again from weights that are loaded"),
    # A folder of weights
    "weights-missing": ("a configuration without a weight file", "export the weights beside it"),
    "index-invalid": ("the index has no weight_map of names to files", "write the index again"),
    "index-dangling-file": ("the index names a file that is not there", "copy the missing shard"),
    "index-dangling-tensor": ("the index names a tensor that its file does not hold", "write the index again"),
    "tensor-unindexed": ("a tensor in an indexed file that the index does not name: it is not loaded",
                         "write the index again"),
    "index-missing": ("shards without an index, so no loader can tell whether they are all there",
                      "save with an index"),
    # Configuration
    "config-missing": ("the base has a config.json and this has none", "copy the configuration of the model"),
    "config-shape": ("a number of the configuration contradicts the tensors", "export the configuration of this model"),
    "layers-missing": ("layers 0 to N with a hole, or another number of them than the configuration says",
                       "export every layer"),
    "architecture-differs": ("another architecture or model type than the base", "compare with the right base"),
    "tie-flags-differ": ("tie_word_embeddings says one thing at the top and another in the text configuration; loaders "
                         "read either", "set both to what the weights are"),
    "tie-flag-changed": ("tie_word_embeddings is not what it is in the base", "copy both flags from the base"),
    "head-missing": ("not tied, and no output head among the tensors: a loader makes a random one",
                     "export lm_head, or set tie_word_embeddings at both levels"),
    "head-ignored": ("tied, and yet an output head with other values: loaders ignore it",
                     "set tie_word_embeddings to false at both levels"),
    # Against the base
    "base-unreadable": ("the base itself is not whole", "name a folder with a whole model as --base"),
    "key-prefix": ("every name carries a prefix of a wrapper, or one that the base has not",
                   "strip the prefix before saving"),
    "tensor-missing": ("a tensor of the base is not there: a loader makes it up", "export every tensor"),
    "shape-differs": ("a tensor has another shape than in the base", "export from the model that was trained"),
    "fsdp-shard": ("one FSDP shard of N was saved as if it were whole",
                   "gather on every rank (full state dict) before saving; what is lost is in the sharded checkpoint"),
    "tower-changed": ("a part that was to stay as it is has changed", "export that part from the base"),
    "tower-unchanged": ("a part that was to change is byte for byte the base's", "export the trained part"),
    "tower-unknown": ("no tensor has the name that was asked about", "name one of the towers that the report lists"),
    # Quantised weights (compressed-tensors)
    "quant-config": ("quantization_config describes no stored weights, or the weights are not quantised",
                     "write configuration and weights together"),
    "quant-scale-missing": ("a quantised weight, or cache, without a scale that its scheme needs: loaders make one up",
                            "save with the library that quantised"),
    "quant-shape": ("a scale or zero point does not fit its weight", "quantise again: groups must divide the inputs"),
    "quant-ignored": ("a layer is quantised that ignore names", "quantise again, or correct ignore"),
    "quant-missed": ("a layer is not quantised, its like are, and ignore does not name it", "name it in ignore"),
    "quant-scale-zero": ("scales that are zero: the weights are gone", "quantise again"),
    # Adapters
    "adapter-config": ("adapter_config.json is missing or describes no adapter", "save with peft's save_pretrained"),
    "rank-mismatch": ("lora_A or lora_B has another rank than adapter_config.json says", "save both files together"),
    "pair-broken": ("lora_A without lora_B or the other way round, or the two do not fit together", "save both"),
    "adapter-shape": ("an adapter does not fit the weight of the base it is for", "use the base it was trained on"),
    "adapter-untrained": ("every lora_B is zero: the adapter changes nothing",
                          "look for zero steps, or parameters the optimizer did not get"),
    "target-missing": ("a target module without any adapter", "save the adapters of every target"),
    "adapter-layer-missing": ("layers that should have an adapter and have none", "save the adapters of every layer"),
    "adapter-unmatched": ("an adapter for a module that the base does not have: it is silently not loaded",
                          "use the base it was trained on"),
    # Checkpoints
    "dcp-metadata-missing": ("a sharded checkpoint without .metadata: the save did not end", "use an older checkpoint"),
    "dcp-metadata": (".metadata is not what torch's distributed checkpoint writes; it is not executed",
                     "use an older checkpoint"),
    "dcp-file-missing": ("a shard file is not there", "copy the missing file from the node that wrote it"),
    "dcp-rank-gap": ("the files of a rank are not there, and those of a higher one are", "copy the missing files"),
    "dcp-truncated": ("a shard file ends before what .metadata says is in it", "copy it again"),
    "dcp-chunk-missing": ("the chunks of a tensor do not cover it", "use an older checkpoint"),
    "dcp-part-missing": ("a checkpoint without its model", "use an older checkpoint"),
    "commit-invalid": ("COMMIT is not readable as one", "use an older checkpoint"),
    "commit-damage": ("a file is not as it was committed: missing, another size, another content",
                      "use an older checkpoint"),
    "pointer-dangling": ("latest_checkpoint.txt names a checkpoint that is not there", "write the newest name into it"),
    # Pipelines
    "component-missing": ("model_index.json names a component that has no folder", "save the whole pipeline"),
    "component-config": ("a component without its configuration", "save the component again"),
    "component-class": ("a component is of another class than model_index.json says", "save the whole pipeline"),
    # With --probe: what the library makes of it
    "probe-load": ("the library that it is for cannot load it, or run it", "export it again"),
    "probe-nothing": ("nothing was loaded: a single file, a checkpoint, or bare weights without a configuration",
                      "name the folder of a model, an adapter or a pipeline"),
    "probe-missing": ("the library made up tensors that the files do not hold", "export every tensor under its name"),
    "probe-not-finite": ("the outputs for a fixed input hold NaN or infinity",
                         "go back to a checkpoint before the loss broke, or compute in bfloat16"),
    "probe-silent-adapter": ("the adapter changes no output: untrained, or not applied",
                             "look for zero steps, or names that the base does not have"),
    "probe-merge-differs": ("the merged model beside the adapter is not base and adapter together",
                            "merge again, from the base that it was trained on"),
}  # fmt: skip

_WARNINGS: Final = {
    "too-many-files": ("more files than are looked at", "name the folder that holds the weights"),
    "file-unindexed": ("a weight file that the index does not name: some loaders read it, others do not",
                       "remove the stale file"),
    "index-size": ("total_size of the index is not the bytes of its tensors", "write the index again"),
    "dtype-differs": ("most weights have another type than the configuration says", "correct dtype in config.json"),
    "tokenizer-missing": ("a model that writes text, without a tokenizer", "save the tokenizer beside it"),
    "processor-missing": ("a model that sees, without its processor files", "save the processor beside it"),
    "chat-template-missing": ("a tokenizer without a chat template, where one is to be expected",
                              "save the chat template of the base beside it"),
    "tensor-unexpected": ("a tensor that the base does not have: loaders drop it", "export only the model's tensors"),
    "same-as-base": ("every tensor is byte for byte the base's: nothing trained, or the wrong weights exported",
                     "export the trained weights"),
    "adapter-partly-untrained": ("some lora_B are zero and others not", "look for modules that got no gradient"),
    "zero-rows": ("rows of zeros in an adapter, in no pattern of shards", "compare with another checkpoint"),
    "adapter-extra": ("a tensor that is no adapter and that the configuration does not name", "save with peft"),
    "commit-missing": ("a checkpoint whose save did not end: it does not count", "remove it once a newer one is there"),
    "quant-vision": ("the vision tower is quantised: models then tend not to look", "leave it out, by ignore"),
    "probe-unexpected": ("the library left tensors of the files out", "export only the model's tensors"),
    "probe-same-output": ("the base's very output: nothing that was trained is in it", "export the trained weights"),
    "component-unlisted": ("a folder with weights that model_index.json does not name", "remove it, or name it there"),
}  # fmt: skip

_NOTES: Final = {
    "probe-no-base": ("an adapter alone cannot be run", "name the base with --base"),
    "adapter-renamed": ("names fit the base only with another prefix, which some loaders map", "try it in the loader"),
}  # fmt: skip

_TABLES: Final[tuple[tuple[Severity, dict[str, tuple[str, str]]], ...]] = (
    ("error", _ERRORS),
    ("warning", _WARNINGS),
    ("note", _NOTES),
)

CODES: Final[Mapping[str, Code]] = MappingProxyType(
    {
        f"audit/{name}": Code(f"audit/{name}", severity, doc, fix)
        for severity, table in _TABLES
        for name, (doc, fix) in table.items()
    }
)


def found(
    name: str, where: str, saw: str, want: str, *, pointer: str | None = None, severity: Severity | None = None
) -> Finding:
    """Return the finding of a code; its severity is the code's unless the place makes it another."""
    code = CODES[f"audit/{name}"]
    return Finding(
        rule=code.name,
        severity=severity or code.severity,
        where=writable(where),
        saw=writable(saw),
        want=writable(want),
        fix=Fix(text=code.fix),
        pointer=None if pointer is None else writable(pointer),
    )


def explain_code(name: str) -> str:
    """Return the explanation of a code. Raises InputError for one that does not exist."""
    if name not in CODES:
        close = difflib.get_close_matches(name, CODES, n=1)
        raise InputError(f"{name}: no such code; want {close[0] if close else 'one of docs/audit.md'}")
    code = CODES[name]
    return f"{code.name}  ({code.severity})\n  {code.doc}\n  Fix: {code.fix}"


def writable(text: str) -> str:
    """Return a text of one line of UTF-8: names of files and tensors may hold line ends, escapes, half characters."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def some(names: list[str], shown: int = 3) -> str:
    """Write a few names and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
