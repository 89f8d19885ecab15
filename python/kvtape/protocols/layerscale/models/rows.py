"""LayerScale: acknowledgements, ingest and statistics of rows."""

from __future__ import annotations

import msgspec

__all__ = [
    "EventStats",
    "IotStats",
    "OhlcvStats",
    "PushResult",
    "SpatialPosition",
    "SpatialStats",
    "Stats",
    "StreamData",
    "StreamInfo",
    "StreamStatistics",
    "StreamStatus",
    "VitalsAlerts",
    "VitalsCurrent",
    "VitalsStats",
]


class PushResult(msgspec.Struct):
    """Acknowledgement of a push, for both generations; read together with the enqueue."""

    pushed: int
    dropped: int
    queue_size: int
    queue_capacity: int
    total_enqueued: int
    total_dropped: int
    pending: int
    pending_bytes: int
    total_pushed: int
    data_version: int


class StreamInfo(msgspec.Struct):
    """The background processor of a session."""

    initialized: bool
    running: bool
    error: bool
    queue_size: int
    queue_capacity: int
    window_size: int
    process_interval_us: int


class StreamStatistics(msgspec.Struct):
    """Cumulative counters of a session's ingest."""

    total_enqueued: int
    total_dropped: int
    batches_processed: int
    items_processed: int
    total_process_time_us: int
    avg_process_time_us: float


class StreamData(msgspec.Struct):
    """What the ingested rows take up in the context."""

    initialized: bool
    data_count: int
    total_data_tokens: int
    pos_next: int
    tokens_per_row: float


class StreamStatus(msgspec.Struct):
    """Answer to `stream/status`."""

    type: str
    streaming: StreamInfo
    statistics: StreamStatistics
    data: StreamData


class OhlcvStats(msgspec.Struct, kw_only=True, tag="ohlcv", tag_field="type"):
    """Statistics over all candles ingested since the session was created."""

    count: int
    max_high: float
    max_high_index: int
    min_low: float
    min_low_index: int
    max_volume: float
    first_open: float
    last_close: float
    avg_close: float
    change: float
    change_pct: float


class IotStats(msgspec.Struct, kw_only=True, tag="iot", tag_field="type"):
    """Statistics over all sensor readings ingested since the session was created."""

    count: int
    last_sensor: str
    last_value: float
    min_value: float
    max_value: float
    avg_value: float
    threshold_breaches: int
    breach_rate: float


class SpatialPosition(msgspec.Struct):
    """A place."""

    x: float
    y: float
    z: float


class SpatialStats(msgspec.Struct, kw_only=True, tag="spatial", tag_field="type"):
    """Statistics over all positions ingested since the session was created."""

    count: int
    current_position: SpatialPosition
    current_speed: float
    current_heading: float
    total_distance: float
    max_speed: float
    avg_speed: float
    max_turn_rate: float


class EventStats(msgspec.Struct, kw_only=True, tag="event", tag_field="type"):
    """Statistics over all events ingested since the session was created."""

    count: int
    total_event_count: int
    max_severity: int
    critical_events: int
    unique_sources: int
    unique_categories: int
    top_category: str
    top_category_count: int


class VitalsCurrent(msgspec.Struct):
    """The last vital signs; `bp` is systolic/diastolic, `map` the mean arterial pressure."""

    hr: float
    bp: str
    spo2: float
    temp: float
    map: float


class VitalsAlerts(msgspec.Struct):
    """How many runs of rows were over each limit."""

    tachycardia_episodes: int
    bradycardia_episodes: int
    hypoxia_episodes: int
    fever_episodes: int


class VitalsStats(msgspec.Struct, kw_only=True, tag="vitals", tag_field="type"):
    """Statistics over all vital signs ingested since the session was created."""

    count: int
    current: VitalsCurrent
    avg_heart_rate: float
    avg_map: float
    min_spo2: float
    max_temp: float
    alerts: VitalsAlerts


Stats = OhlcvStats | IotStats | SpatialStats | EventStats | VitalsStats
