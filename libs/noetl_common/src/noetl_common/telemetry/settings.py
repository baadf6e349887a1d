"""Settings of tracing, which every service has."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator


class TracingFields(BaseModel):
    """Receiver and sampling of spans, in variables of OpenTelemetry; the SDK reads more of them."""

    otel_exporter_otlp_endpoint: str = Field(
        default="",
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="Base address (http or https) of the OTLP receiver to which spans are sent. "
        "If empty, tracing is off and costs nothing.",
    )
    otel_exporter_otlp_protocol: Literal["http/protobuf"] = Field(
        default="http/protobuf",
        validation_alias="OTEL_EXPORTER_OTLP_PROTOCOL",
        description="Protocol of the receiver; no other protocol is supported.",
    )
    otel_sdk_disabled: bool = Field(
        default=False,
        validation_alias="OTEL_SDK_DISABLED",
        description="Turns tracing off, regardless of the other variables.",
    )
    otel_traces_sampler: Literal[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ] = Field(
        default="parentbased_always_on",
        validation_alias="OTEL_TRACES_SAMPLER",
        description="Sampler, which selects the traces that are recorded.",
    )
    otel_traces_sampler_arg: str = Field(
        default="",
        validation_alias="OTEL_TRACES_SAMPLER_ARG",
        description="Share of traces, from 0 to 1, that a sampler by ratio records; empty for 1.",
    )

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _check_endpoint(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in {"http", "https"}:
            raise ValueError("has to begin with http:// or https://")
        return value

    @field_validator("otel_traces_sampler_arg")
    @classmethod
    def _check_ratio(cls, value: str) -> str:
        _ratio(value)
        return value

    def has_tracing(self) -> bool:
        """Return whether spans are recorded."""
        return bool(self.otel_exporter_otlp_endpoint) and not self.otel_sdk_disabled

    def sampled_ratio(self) -> float:
        """Return the share of traces that a sampler by ratio records."""
        return _ratio(self.otel_traces_sampler_arg)


def _ratio(value: str) -> float:
    try:
        ratio = float(value) if value.strip() else 1.0
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ValueError("has to be a number from 0 to 1")
    return ratio
