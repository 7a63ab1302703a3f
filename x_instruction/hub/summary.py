"""A publication in words: what it would change, and what it did."""

from __future__ import annotations

from x_instruction.hub import pull_requests
from x_instruction.hub.publish import Published, PublishPlan


def plan_lines(plan: PublishPlan) -> list[str]:
    """What publishing would change, a line each."""
    request, changes = plan.request, plan.changes
    lines = [*plan.content.describe(changes), *changes.notes]
    if request.tag is not None:
        moved = f", moved from {plan.tagged[:12]}" if plan.tagged else ""
        lines.append(f"tag {request.tag}: {'on this commit' if plan.tagged and not changes.size else 'set' + moved}")
    if request.collection is not None:
        lines.append(f"collection {request.collection!r}: {'' if plan.collection_exists else 'created, '}added to it")
    if changes.remote.head and not changes.size:
        lines.append(f"nothing to publish: {plan.target.repo} holds this already")
    return [_target_line(plan), *(f"  {line}" for line in lines)]


def _target_line(plan: PublishPlan) -> str:
    """Where it goes, how, and who will see it."""
    request, remote, target = plan.request, plan.changes.remote, plan.target
    if remote.head is None:
        visibility = {True: "private", False: "public", None: "visible as its owner's settings say"}
        return f"{target.url}: new, {visibility[request.private]}"
    parts = [f"{target.revision} at {remote.head[:12]}"]
    if not remote.branch:
        parts.append(f"new branch {target.revision} from there")
    if request.private is not None and request.private != remote.private:
        parts.append(f"made {'private' if request.private else 'public'}")
    if request.create_pr:
        parts.append("by a pull request that is left open")
    elif pull_requests.is_needed(target, plan.changes):
        parts.append("by a pull request that is merged")
    return f"{target.url}: {', '.join(parts)}"


def result_line(published: Published) -> str:
    """Where it is, what was verified and how it is used, in one line."""
    pull_request = f"  pull request {published.pull_request}" if published.pull_request else ""
    return f"{published.url}  {published.verified}{pull_request}"
