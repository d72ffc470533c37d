"""Configuration: a YAML file, overridden by `TRACETAXA_<SECTION>__<KEY>` in the environment.

Every field says what it does; unknown keys are refused with the nearest known one.
"""

from tracetaxa.config.analysis import AnalysisConfig, AuditConfig
from tracetaxa.config.assembly import AssemblyConfig
from tracetaxa.config.exporter import OtlpConfig
from tracetaxa.config.llm import LlmConfig
from tracetaxa.config.loading import load, parse_analysis
from tracetaxa.config.privacy import PrivacyConfig
from tracetaxa.config.receiver import HttpTlsConfig, ReceiverAuthConfig, ReceiverConfig, TlsConfig
from tracetaxa.config.root import Config
from tracetaxa.config.store import StoreConfig
from tracetaxa.config.values import duration_seconds, split_endpoint

__all__ = [
    "AnalysisConfig",
    "AssemblyConfig",
    "AuditConfig",
    "Config",
    "HttpTlsConfig",
    "LlmConfig",
    "OtlpConfig",
    "PrivacyConfig",
    "ReceiverAuthConfig",
    "ReceiverConfig",
    "StoreConfig",
    "TlsConfig",
    "duration_seconds",
    "load",
    "parse_analysis",
    "split_endpoint",
]
