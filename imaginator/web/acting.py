"""What is done from a page: by a POST of one of our own pages, from somebody whom the method lets in.

A browser that has a certificate shows it to whoever makes it ask, so that another site's form could act in its owner's
name: the browser's own word on where a request comes from has to be ours.
"""

from __future__ import annotations

from twisted.web.server import Request

from imaginator.model.build import BuildRequest
from imaginator.model.errors import NotPermitted
from imaginator.model.identity import Caller
from imaginator.model.names import check_build_id, check_stream_name
from imaginator.web.answers import has_certificate, set_headers
from imaginator.web.queries import form_fields
from imaginator.web.view import View

LIFE = 86400.0
"""Seconds that an image lives which is built from a page."""

SOURCE_AGE = 3600.0
"""Seconds that its source image may be old: as builder-tool has it."""


class Acting(View):
    """What can be done from pages."""

    def _caller(self, request: Request, method: str) -> Caller:
        check_origin(request)
        if self._parts.caller is None:
            raise NotPermitted("nothing can be done here")
        return self._parts.caller(request, method)

    async def cancel(self, request: Request) -> bytes:
        """End a build."""
        caller = self._caller(request, "Imaginator.CancelBuild")
        build_id = check_build_id(form_fields(request).get("build", ""))
        await self._builder.cancel(build_id, caller)
        return go_to(request, f"/showBuild?{build_id}")

    async def build(self, request: Request) -> bytes:
        """Build a stream now."""
        caller = self._caller(request, "Imaginator.SubmitBuild")
        stream = check_stream_name(form_fields(request).get("stream", ""))
        wanted = BuildRequest(stream_name=stream, expires_in=LIFE, max_source_age=SOURCE_AGE)
        record = await self._builder.submit(wanted, caller)
        return go_to(request, f"/showBuild?{record.build_id}")

    async def regenerate(self, request: Request) -> bytes:
        """Find out anew which stream builds on which."""
        self._caller(request, "Imaginator.GetDirectedGraph")
        await self._builder.dependencies.look()
        return go_to(request, request.uri.decode("ascii", "replace"))


def check_origin(request: Request) -> None:
    """Raise `NotPermitted` for what a browser was made to send by anybody but our own pages.

    Programs that are no browsers say nothing of where they come from, and are made to do nothing.
    """
    site = request.getHeader("sec-fetch-site")
    origin = request.getHeader("origin")
    own = f"{'https' if request.isSecure() else 'http'}://{request.getHeader('host')}"
    if (site is not None and site != "same-origin") or (origin is not None and origin != own):
        raise NotPermitted("sent by another site's page")


def may_act(request: Request) -> bool:
    """Whether a request comes with a certificate, so that it is worth while to offer anything."""
    return has_certificate(request.transport)


def go_to(request: Request, address: str) -> bytes:
    """Send the browser to a page of ours."""
    request.setResponseCode(303)
    set_headers(request, {"Location": address})
    return b""
