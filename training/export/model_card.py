"""The model card: what a person should know before using a model, in Markdown, made from its manifest.

After Mitchell et al. 2019, "Model Cards for Model Reporting": what it is for, what it cannot do, how it was measured,
what it was made of.
"""

from collections.abc import Mapping

from model_store.contract.manifest import Manifest

_CANNOT = (
    "It knows the questions of one business and nothing of the world: no weather, no advice on health, money or law.",
    "It sees no orders, accounts, cards or stock. It says where to look or what to do, never that something was done.",
    "It misunderstands: see *right plan* below. Where it is not sure of the topic the service asks back, then offers a "
    "person; a share of what it is sure of is still wrong.",
    "It reads {languages}. Other languages are answered as if they were one that it reads.",
    "It copies nothing. Names, numbers, prices and deadlines are placeholders that the service fills with the "
    "customer's own words or the operator's facts; a fact that is given wrong is said wrong.",
    "It is shown a message and the two exchanges before it; what was said earlier in a conversation it does not know. "
    "A second question is answered worse than a first one.",
    "Cries for help are answered by fixed rules before it runs. The rules are precise, not complete: people who may be "
    "in danger need a person who reads along.",
)


def model_card(manifest: Manifest, num_parameters: int) -> str:
    """The card of the version that a manifest describes; its list of files may still be empty."""
    languages = " and ".join({"en": "English", "zh": "Chinese"}.get(name, name) for name in manifest.languages)
    shape, quantization = manifest.architecture, manifest.quantization
    tables = f", a table with room for {shape.ngram_rows} n-grams" if shape.ngram_rows else ""
    sections = [
        f"# {manifest.name}",
        f"A customer-service Reformer for {languages}: {num_parameters / 1e6:.1f} M parameters, "
        f"{len(shape.attn_layers)} layers of {shape.hidden_size}{tables}, {shape.vocab_size} subwords. Made on "
        f"{manifest.created_at}.",
        "## What it is for\n\nAnswering what customers of one business ask, beside people who can take over. Each "
        "reply opens with a plan (the intent it answers or the detail it asks for), so that it can be explained, "
        "counted and steered.",
        "## What it cannot do\n\n" + "\n".join(f"- {line.format(languages=languages)}" for line in _CANNOT),
        "## Measured\n\nOn held-out wordings that share no sentence with training; greedy.\n\n"
        + _figures(manifest.metrics),
        f"Stored as {quantization.weights} with a {quantization.kv_cache} cache: the same most probable token at "
        f"{quantization.top1_agreement:.2%} of held-out positions as in float32, perplexity x "
        f"{quantization.perplexity_ratio:.4f}.",
        "## What it was made of\n\n" + _sources(manifest),
        "## Lineage\n\n" + _lineage(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def _figures(metrics: Mapping[str, float]) -> str:
    """A table with a row a figure, and a column a language where the figure has one."""
    names = sorted({name.removesuffix("_en").removesuffix("_zh") for name in metrics})
    lines = ["| figure | English | Chinese | both |", "|---|--:|--:|--:|"]
    for name in names:
        cells = [metrics.get(key) for key in (f"{name}_en", f"{name}_zh", name)]
        shown = ["" if value is None else f"{value:.4g}" for value in cells]
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _sources(manifest: Manifest) -> str:
    rows = [f"| {source.source} | {source.licence} | {source.num_rows} |" for source in manifest.licences]
    return "\n".join(["| source | licence | rows |", "|---|---|--:|", *rows])


def _lineage(manifest: Manifest) -> str:
    lineage = manifest.lineage
    lines = [f"- stages: {', '.join(lineage.stages)}", f"- configuration: `{lineage.config}`"]
    if lineage.parent is not None:
        lines += [f"- parent: `{lineage.parent}`", f"- feedback: `{lineage.data_snapshot}`"]
    return "\n".join(lines)
