"""What an error of MLflow means: one of ours, in a few words, and whether the same question may be answered later."""

import logging
import re

import requests
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from bc4all.errors import ConfigurationError, Failure, ModelError, OutOfReach
from bc4all.redaction import redact

log = logging.getLogger(__name__)

_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")
_REFUSED = (*_ABSENT, "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST", "ENDPOINT_NOT_FOUND")
_FORBIDDEN = ("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")


# A server's word on an artifact comes inside a text.
_STATUS = {"401": _FORBIDDEN[1], "403": _FORBIDDEN[0], "404": _ABSENT[0]}


def _code(error: Exception) -> str | None:
    """MLflow's code of what went wrong."""
    status = re.search(r"\b(40[134]) Client Error", str(error))
    return _STATUS[status[1]] if status else getattr(error, "error_code", None)


def may_pass(error: Exception) -> bool:
    """Return whether to ask the same again; if so, log why."""
    if passes(error):
        log.warning("MLflow: %s", _told(error))
        return True
    return False


def passes(error: Exception) -> bool:
    """Return whether it may be another one's fault, and over soon."""
    if _code(error) in (*_REFUSED, *_FORBIDDEN):
        return False
    return isinstance(error, MlflowException | requests.RequestException | SQLAlchemyError | OSError)


# What requests and urllib3 say, which MLflow wraps into half a page.
_SHORT = {
    r"timed out|timeout exception": "it did not answer in time",
    r"too many (\d+) error responses": "it answers with server errors",
    r"Max retries exceeded|Connection aborted|Connection refused|RemoteDisconnected": "it cannot be reached",
}


def _told(error: Exception) -> str:
    """Return what happened, on one line."""
    said = " ".join(str(error).split())
    short = [meaning for pattern, meaning in _SHORT.items() if re.search(pattern, said)]
    return short[0] if short else redact(said)[:300]


def failure(error: Exception, missing: str, uri: str) -> Failure:
    """Return an error of MLflow as a Failure. `missing`: what to report if the requested object is not there."""
    where, code = redact(uri), _code(error)
    if isinstance(error, ImportError):  # of a database's driver
        return ConfigurationError(f"MLflow: {error}", where, "install it, or name another driver in the URI")
    if code in _FORBIDDEN:
        remedy = "give this job the right MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN"
        return Failure(f"MLflow refuses these credentials: {_told(error)}", where, remedy)
    if missing and code in _ABSENT:
        return ModelError(missing, where, "train the client first: bin/submit.sh train")
    if code in _REFUSED:
        return Failure(f"MLflow refuses this: {_told(error)}", where)
    return OutOfReach(f"MLflow: {_told(error)}", where, "is the tracking server well?")
