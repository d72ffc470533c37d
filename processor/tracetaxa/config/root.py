"""The whole configuration."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import (
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from tracetaxa.config.analysis import AnalysisConfig
from tracetaxa.config.assembly import AssemblyConfig
from tracetaxa.config.exporter import ExporterConfig
from tracetaxa.config.label import LabelConfig
from tracetaxa.config.llm import LlmConfig
from tracetaxa.config.privacy import PrivacyConfig
from tracetaxa.config.receiver import ReceiverConfig
from tracetaxa.config.scheduler import SchedulerConfig
from tracetaxa.config.section import Misplaced, second_of_two
from tracetaxa.config.serving import ApiConfig, HealthConfig, MetricsConfig, SqlConfig
from tracetaxa.config.store import StoreConfig
from tracetaxa.config.values import NAME_PATTERN
from tracetaxa.errors import ConfigError

_SIDECAR_PORT_SHIFT = 10
"""The `sidecar` profile moves every default port by this much, to live beside a collector in one pod."""

_PORTS = {
    ("receiver", "grpc"): 4317,
    ("receiver", "http"): 4318,
    ("api",): 8080,
    ("sql",): 8123,
    ("health",): 13133,
    ("metrics",): 8888,
}


class Config(BaseSettings):
    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix="TRACETAXA_",
        env_nested_delimiter="__",
    )

    profile: Literal["default", "sidecar"] = "default"
    """`sidecar` adds 10 to every default port, to live beside a collector in one pod."""
    store: StoreConfig = StoreConfig()
    receiver: ReceiverConfig = ReceiverConfig()
    assembly: AssemblyConfig = AssemblyConfig()
    llm: LlmConfig = LlmConfig()
    analyses: tuple[AnalysisConfig, ...] = (AnalysisConfig(),)
    label: LabelConfig = LabelConfig()
    exporter: ExporterConfig = ExporterConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    api: ApiConfig = ApiConfig()
    sql: SqlConfig = SqlConfig()
    health: HealthConfig = HealthConfig()
    metrics: MetricsConfig = MetricsConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings

    @model_validator(mode="before")
    @classmethod
    def _shift_ports(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("profile") == "sidecar":
            for path, port in _PORTS.items():
                section = values
                for key in path:
                    section = section.setdefault(key, {})
                    if not isinstance(section, dict):
                        break
                else:
                    section.setdefault("endpoint", f"127.0.0.1:{port + _SIDECAR_PORT_SHIFT}")
        return values

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        if (second := second_of_two([analysis.name for analysis in self.analyses])) is not None:
            name = self.analyses[second].name
            raise Misplaced(f"two analyses are called {name!r}", "analyses", second, "name")
        return self

    def analysis(self, name: str) -> AnalysisConfig:
        """The configured analysis, or the defaults under that name. Raises ConfigError for a bad name."""
        for analysis in self.analyses:
            if analysis.name == name:
                return analysis
        if not re.match(NAME_PATTERN, name):
            raise ConfigError(f"{name!r} can't name an analysis: use a-z, 0-9 and _, starting with a letter")
        return AnalysisConfig(name=name)
