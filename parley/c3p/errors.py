"""What can be wrong with a C3P request."""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """Values of ``reason`` in a failure (UCMA 2.0 CommandFailureReasons, first letter in lower case)."""

    CONFERENCE_DOES_NOT_EXIST = "conferenceDoesNotExist"
    CONFERENCE_EXISTS = "conferenceExists"
    FORBIDDEN = "forbidden"
    NOT_SUPPORTED = "notSupported"
    INVALID_CONFERENCE_ID = "invalidConferenceId"
    INVALID_EXPIRY_TIME = "invalidExpiryTime"
    INVALID_ADMISSION_POLICY = "invalidAdmissionPolicy"
    INVALID_ROLE = "invalidRole"
    INVALID_USER_ENTITY = "invalidUserEntity"
    MCU_TYPE_NOT_AVAILABLE = "mcuTypeNotAvailable"
    MAXIMUM_CONFERENCES_EXCEEDED = "maximumConferencesExceeded"
    MAXIMUM_MEETING_SIZE_EXCEEDED = "maximumMeetingSizeExceeded"
    ENDPOINT_DOES_NOT_EXIST = "endpointDoesNotExist"
    OTHER_FAILURE = "otherFailure"


class C3pError(ValueError):
    """A request that is none, or not for who gets it; it is answered with a SIP status and no C3P body."""

    def __init__(self, text: str, error_id: int = 3006, status: int = 400) -> None:
        """``error_id``: of ms-diagnostics (MS-OCER section 8.4)."""
        super().__init__(text)
        self.error_id = error_id
        self.status = status


class CommandFailed(Exception):
    """A command that is understood and not carried out; the answer says ``failure`` and the reason."""

    def __init__(self, reason: Reason, text: str = "") -> None:
        super().__init__(text or reason.value)
        self.reason = reason
