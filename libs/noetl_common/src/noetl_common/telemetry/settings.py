"""Settings of traces, part of those of every service."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator


class TracingFields(BaseModel):
    """Receiver and sampling of spans, by OpenTelemetry's variables; the SDK reads the others."""

    otel_exporter_otlp_endpoint: str = Field(
        default="",
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="Base address of an OTLP receiver (http or https), to which spans are sent; "
        "without it tracing is off and costs nothing.",
    )
    otel_exporter_otlp_protocol: Literal["http/protobuf"] = Field(
        default="http/protobuf",
        validation_alias="OTEL_EXPORTER_OTLP_PROTOCOL",
        description="The only one that is built in.",
    )
    otel_sdk_disabled: bool = Field(
        default=False,
        validation_alias="OTEL_SDK_DISABLED",
        description="Turns tracing off whatever the other variables say.",
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
        description="Which traces are recorded.",
    )
    otel_traces_sampler_arg: str = Field(
        default="",
        validation_alias="OTEL_TRACES_SAMPLER_ARG",
        description="Of the samplers by ratio: the share of traces, 0 to 1; 1 without it.",
    )

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _check_endpoint(cls, said: str) -> str:
        if said and urlsplit(said).scheme not in {"http", "https"}:
            raise ValueError("has to begin with http:// or https://")
        return said

    @field_validator("otel_traces_sampler_arg")
    @classmethod
    def _check_ratio(cls, said: str) -> str:
        _ratio(said)
        return said

    def has_tracing(self) -> bool:
        """Return whether spans are recorded."""
        return bool(self.otel_exporter_otlp_endpoint) and not self.otel_sdk_disabled

    def sampled_ratio(self) -> float:
        """Return the share of traces that a sampler by ratio records."""
        return _ratio(self.otel_traces_sampler_arg)


def _ratio(said: str) -> float:
    try:
        ratio = float(said) if said.strip() else 1.0
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ValueError("has to be a number from 0 to 1")
    return ratio
