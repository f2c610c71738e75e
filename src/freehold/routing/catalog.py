"""From the name a client gives to the model that answers."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from freehold.errors import DoesNotFit, ModelNotFound, NotInstalled
from freehold.fleet import builds
from freehold.fleet.engines import Deployment
from freehold.fleet.remote import remote_of
from freehold.hardware.misfit import Misfit
from freehold.hardware.plan import Plan
from freehold.protocol.fim.chat import CHAT
from freehold.protocol.fim.families import family_of
from freehold.protocol.guards import guard_in
from freehold.protocol.values import Target
from freehold.routing.planner import Planner
from freehold.routing.seat import Stay, lasting
from freehold.settings import ModelSettings, Settings
from freehold.store import integrity
from freehold.store.found import PROGRAMS, Found
from freehold.store.manifest import Manifest
from freehold.store.names import check_name
from freehold.store.store import Store

_UNKNOWN_VOCABULARY = 2**31 - 1


@dataclass(frozen=True)
class Entry:
    """An installed model: what it is, how it is run, what a request may ask of it, and how long it stays loaded.

    One that does not fit this machine has a `misfit`, and its deployment is not to be run.
    """

    manifest: Manifest
    deployment: Deployment
    target: Target
    stay: Stay
    misfit: Misfit | None = None

    @property
    def template(self) -> str:
        """The chat template in force, "" for a model without one."""
        return _template(self.manifest, self.deployment)

    def check(self) -> None:
        """Raises DoesNotFit, with the figures, for a model that has no place here whatever leaves."""
        if self.misfit is not None:
            raise DoesNotFit(
                f"The model {self.manifest.name!r} does not fit this machine. {self.misfit.reason}", retry_after=None
            )


class Catalog:
    """The installed models, as the store has them at the moment of asking: other processes may pull and remove."""

    def __init__(self, store: Store, settings: Settings, planner: Planner, found: Found | None = None):
        self._store = store
        self.found = found  # kept also while it is switched off: a later setting may want it
        self._found = found if settings.sources.found else None
        self._settings = settings
        self._planner = planner
        self._known: dict[str, tuple[object, Entry]] = {}  # by name: the store's stamp, and what was read then

    def real_name(self, name: str) -> str:
        """What a name stands for: an alias is followed, also one that ends in `*` and stands for all names that begin so and
        are no model's; any other name is itself. Raises InvalidRequest for path-like ones."""
        if self.is_external(name):  # it was named in the settings on purpose; many aliases are built in
            return name
        name = self.meant(name)
        if name in self._settings.defaults:
            asked, name = name, self._settings.defaults[name]
            if not name:
                raise ModelNotFound(f"No model is set for that yet: the setting `default_{asked[1:]}`.", param="model")
        return check_name(name)

    def meant(self, name: str) -> str:
        """What an alias stands for, a default's own name included; any other name is itself."""
        return self._settings.aliases.get(name) or self._patterned(name) or name

    def _patterned(self, name: str) -> str | None:
        targets = (
            target
            for alias, target in self._settings.aliases.items()
            if alias.endswith("*") and name.startswith(alias[:-1]) and self._store.stamp(check_name(name)) is None
        )
        return next(targets, None)

    def resolve(self, name: str) -> Entry:
        """Raises ModelNotFound, naming the nearest installed names."""
        real = self.real_name(name)
        if self.is_external(real):
            return self._external(real, self._settings.models[real])
        stamp: object = self._store.stamp(real)
        if stamp is None and self._found is not None and "/" in real:
            return self._in_place(real, self._found)
        known = self._known.get(real)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            entry = self._entry(self._store.get(real))
        except NotInstalled:
            self._known.pop(real, None)
            raise self._not_found(name) from None
        self._known[real] = (stamp, entry)
        return entry

    def is_external(self, name: str) -> bool:
        """Whether an engine of another maker has that model."""
        own = self._settings.models.get(name)
        return own is not None and own.engine is not None

    def _external(self, name: str, own: ModelSettings) -> Entry:
        """A model of an engine that runs elsewhere. It takes no memory here, and has no files."""
        known = self._known.get(name)
        if known is None or known[0] is not own:
            manifest = Manifest(name, own.task, own.engine or "external", (), remote_of(own).shown, None, 0)
            known = self._known[name] = (own, self._entry(manifest))
        return known[1]

    def _in_place(self, name: str, found: Found) -> Entry:
        """A model that another program keeps on this machine."""
        try:
            manifest = found.get(name)
        except NotInstalled as error:
            self._known.pop(name, None)
            if name.partition("/")[0] not in PROGRAMS:
                raise self._not_found(name) from None
            raise ModelNotFound(f"{error.message} See what is: freehold list --all", param="model") from None
        known = self._known.get(name)
        if known is None or known[0] is not manifest:  # the same object for as long as its files are the same
            known = self._known[name] = (manifest, self._entry(manifest))
        return known[1]

    def entries(self, everything: bool = False) -> Iterator[Entry]:
        """The installed models; with `everything`, those that other programs keep on this machine, too."""
        yield from self.externals()
        for manifest in self._store.list():
            if not self.is_external(manifest.name):
                yield self._entry(manifest)
        if everything and self._found is not None:
            for manifest in self._found.all()[0]:
                yield self._entry(manifest)

    def externals(self) -> list[Entry]:
        """The models of engines of other makers."""
        return [self._external(name, own) for name, own in self._settings.models.items() if own.engine is not None]

    def aliases_of(self, model: str) -> list[str]:
        defaults = self._settings.defaults
        return [alias for alias, target in self._settings.aliases.items() if defaults.get(target, target) == model]

    def _not_found(self, name: str) -> ModelNotFound:
        if (real := self.real_name(name)) != name:
            return ModelNotFound(
                f"{name[:200]!r} stands for the model {real!r}, which is not installed. Pull it: freehold pull {real}",
                param="model",
            )
        installed = [*(entry.manifest.name for entry in self.externals()), *(manifest.name for manifest in self._store.list())]
        aliases = [alias for alias in self._settings.aliases if not alias.endswith("*")]
        near = difflib.get_close_matches(name, [*installed, *aliases], n=3, cutoff=0.5) or installed[:3]
        hint = f" Did you mean {', '.join(map(repr, near))}?" if near else " No model is installed: freehold pull smollm2:135m."
        return ModelNotFound(f"The model {name[:200]!r} does not exist here.{hint}", param="model")

    def _entry(self, manifest: Manifest) -> Entry:
        plan, own = self._planner.plan(manifest), self._settings.models.get(manifest.name)
        misfit = plan if isinstance(plan, Misfit) else None
        deployment = Deployment(
            name=manifest.name,
            task=manifest.task,
            engine=manifest.engine,
            plan=_smallest(manifest) if isinstance(plan, Misfit) else plan,
            sandbox=self._settings.engine.sandbox,
            builds=builds.folder(self._settings.data_dir),
            pins=integrity.pins(self._store, manifest),
            weights=self._store.serving(manifest, "weights"),
            chat_template=self._store.serving(manifest, "chat_template"),
            projector=self._store.serving(manifest, "projector"),
            draft=self._store.serving(manifest, "draft"),
            adapter=self._store.serving(manifest, "adapter"),
            options=self._options(manifest),
            files={file.role: self._store.path(file) for file in manifest.files if file.role != "part"},
            folder=self._store.folder(manifest),
            remote=remote_of(own) if own is not None and own.engine is not None else None,
        )
        return Entry(manifest, deployment, self._target(manifest, deployment), self._stay(manifest.name), misfit)

    def _options(self, manifest: Manifest) -> Mapping[str, Any]:
        """What its engine is told: what the manifest says, and of the settings what only the engine can hold to."""
        if manifest.task not in ("transcription", "diarization"):
            return manifest.options
        return {**manifest.options, "max_seconds": 3600 * self._settings.speech.hours}

    def _stay(self, name: str) -> Stay:
        settings = self._settings
        own = settings.models.get(name, ModelSettings())
        if own.keep_alive is not None:
            return Stay(lasting(own.keep_alive), own.pin)
        default = settings.preload and name in (settings.default_chat, settings.default_embedding)
        return Stay(None if default else lasting(settings.memory.keep_alive), own.pin)

    def _target(self, manifest: Manifest, deployment: Deployment) -> Target:
        facts = manifest.facts
        return Target(
            name=manifest.name,
            task=manifest.task,
            context=deployment.context,
            slots=deployment.slots,
            vocab_size=facts.vocab_size if facts else _UNKNOWN_VOCABULARY,
            max_output_tokens=self._settings.engine.max_output_tokens,
            capabilities=self._capabilities(manifest, deployment),
            sampling=manifest.sampling,
            dimensions=manifest.dimensions,
            embedding_length=facts.embedding_length if facts else 0,
            marks=facts.marks if facts else {},
            fim=self._settings.models.get(manifest.name, ModelSettings()).fim,
            system=manifest.system,
            examples=manifest.examples,
            score=facts.score if facts else "",
            guard=guard_in(_template(manifest, deployment)) if manifest.task == "chat" else "",
            external=deployment.remote is not None,
        )

    def _capabilities(self, manifest: Manifest, deployment: Deployment) -> frozenset[str]:
        if manifest.task != "chat":
            return frozenset({"embeddings" if manifest.task == "embedding" else manifest.task})
        template = _template(manifest, deployment)
        can = {"chat", "completion"}
        own = self._settings.models.get(manifest.name, ModelSettings())
        if "tools" in template or manifest.engine == "fake" or deployment.remote is not None:
            can.add("tools")
        if "reasoning_effort" in template or own.reasoning:
            can.add("reasoning_effort")
        if "enable_thinking" in template:
            can.add("thinking")
        if guard_in(template):
            can.add("moderation")
        if deployment.projector is not None or own.vision:
            can.add("vision")
        if own.fim == CHAT.name and not deployment.remote:
            can.add("fim_by_chat")
        elif family_of(manifest.facts.marks if manifest.facts else {}, own.fim) is not None:
            can.add("fim")
        return frozenset(can)


def _template(manifest: Manifest, deployment: Deployment) -> str:
    if deployment.chat_template is not None:
        return deployment.chat_template.read_text(encoding="utf-8")
    return (manifest.facts.chat_template if manifest.facts else None) or ""


def _smallest(manifest: Manifest) -> Plan:
    """What stands in for a plan where there is none."""
    trained = manifest.facts.context_length if manifest.facts else 1
    return Plan(context=min(trained, 4096), slots=1)
