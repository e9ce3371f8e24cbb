"""The data report as text for people: one paragraph a question, figures in the order in which one asks."""

from collections.abc import Mapping

from training.data.data_report.describe import DataReport
from training.data.data_report.measurements import Summary


def report_text(report: DataReport) -> str:
    """Every figure of a report but the single moves between splits."""
    parts = (
        _size(report),
        _lengths(report),
        _intents(report),
        _duplicates(report),
        _personal(report),
        _replies(report),
    )
    return "\n\n".join((*parts, _split(report)))


def _size(report: DataReport) -> str:
    tokens = "" if report.num_tokens is None else f", {report.num_tokens:,} tokens"
    lines = [
        f"{report.num_rows:,} rows: {report.num_conversations:,} conversations and "
        f"{report.num_rows - report.num_conversations:,} single texts with an intent",
        f"{_counts(report.num_turns)} turns{tokens}",
        f"languages: {_counts(report.languages)}; splits: {_counts(report.splits)}",
    ]
    return "\n".join(lines + ["There are more rows; these are the first." for _ in range(report.is_cut)])


def _lengths(report: DataReport) -> str:
    lines = [f"{'':24}{'median':>8}{'90 %':>8}{'most':>8}", _row("turns a conversation", report.turns_per_conversation)]
    lines += [_row(f"characters, {role}", summary) for role, summary in report.characters_per_turn.items()]
    lines += [_row(f"tokens, {role}", summary) for role, summary in (report.tokens_per_turn or {}).items()]
    return "\n".join(lines)


def _row(name: str, summary: Summary) -> str:
    return f"{name:24}{summary.median:8,}{summary.p90:8,}{summary.max:8,}"


def _intents(report: DataReport) -> str:
    if report.nearest_intents is None:
        return "Nearest intents: not measured without a tokenizer."
    lines = []
    for language, nearest in report.nearest_intents.items():
        lines.append(
            f"Nearest intents of {nearest.num_messages:,} first messages ({language}); "
            f"{nearest.unsure_share:.0%} are near none:"
        )
        lines += [f"  {share:6.1%}  {name}" for name, share in nearest.shares.items()]
    return "\n".join(lines) or "Nearest intents: no message is in a language of the pack."


def _duplicates(report: DataReport) -> str:
    return (
        f"Duplicates of earlier rows: {report.num_exact_duplicates:,} exact, {report.num_near_duplicates:,} near; "
        f"{_share(report.num_exact_duplicates + report.num_near_duplicates, report.num_rows)} of all rows"
    )


def _personal(report: DataReport) -> str:
    if not report.personal_data:
        return "Personal data: none found."
    lines = [f"{'Personal data':24}{'in clear':>10}{'masked':>10}"]
    lines += [f"{name:24}{data.found:10,}{data.masked:10,}" for name, data in report.personal_data.items()]
    return "\n".join((*lines, "What is in clear is masked when training reads the rows."))


def _replies(report: DataReport) -> str:
    replies = report.replies
    claims, emptied = (_share(part, replies.num_replies) for part in (replies.num_with_claims, replies.num_emptied))
    return (
        f"Replies with a claim that nothing backs: {claims}; cleaning drops those sentences "
        f"and leaves nothing of {emptied} of the replies"
    )


def _split(report: DataReport) -> str:
    split = report.suggested_split
    return (
        f"Suggested split: {_counts(split.sizes)}; {split.num_groups:,} groups by customer and duplicates, "
        f"the largest of {split.largest_group:,} rows.\n"
        f"{split.num_torn_groups:,} groups lie in several splits now; {split.num_moves:,} rows would move."
    )


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "none"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "0.0%"
