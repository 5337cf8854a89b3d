"""The operations on credentials and integrations; a part of the table in `routes`."""

from typing import Any, Final

from gateway import credentials, integrations
from gateway.bodies import NO_BODY, Body
from gateway.credentials import Credential, PageQuery
from gateway.integrations import Integration
from gateway.operations import Operation, Returns
from gateway.pages import Page
from gateway.queries import NoQuery

_CREDENTIAL: Final = Returns(description="The credential, without its data", type=Credential)
_INTEGRATION: Final = Returns(description="The integration", type=Integration)

CREDENTIALS: Final[tuple[Operation[Any, Any], ...]] = (
    Operation(
        method="GET",
        path="/v1/credentials",
        scope="read",
        tag="credentials",
        summary="List credentials",
        handler=credentials.list_credentials,
        query=PageQuery,
        body=NO_BODY,
        returns={200: Returns(description="A page", type=Page[Credential])},
    ),
    Operation(
        method="POST",
        path="/v1/credentials",
        scope="write",
        tag="credentials",
        summary="Store a credential",
        description="`data` is what the type asks for. It is stored sealed, and no answer holds it.",
        handler=credentials.create_credential,
        query=NoQuery,
        body=Body(type=credentials.NewCredential),
        example={
            "name": "shop-api",
            "type": "http",
            "data": {"type": "BEARER", "token": "...", "base_url": "https://shop.example"},
        },
        returns={
            201: Returns(
                description="The credential, without its data",
                type=Credential,
                headers=("Location",),
            )
        },
        problems=("name_taken",),
    ),
    Operation(
        method="GET",
        path="/v1/credentials/{credential_id}",
        scope="read",
        tag="credentials",
        summary="Read a credential",
        handler=credentials.get_credential,
        query=NoQuery,
        body=NO_BODY,
        returns={200: _CREDENTIAL},
    ),
    Operation(
        method="PUT",
        path="/v1/credentials/{credential_id}",
        scope="write",
        tag="credentials",
        summary="Change a credential",
        description=(
            "Only fields that are sent change; `data` replaces all of it. Who uses it gets the new data from "
            "now on. A name by which a workflow names it stays."
        ),
        handler=credentials.update_credential,
        query=NoQuery,
        body=Body(type=credentials.CredentialChange),
        example={"data": {"type": "BEARER", "token": "..."}},
        returns={200: _CREDENTIAL},
        problems=("name_taken", "in_use"),
    ),
    Operation(
        method="DELETE",
        path="/v1/credentials/{credential_id}",
        scope="write",
        tag="credentials",
        summary="Delete a credential",
        description="Not while an integration, a draft or a published version names it.",
        handler=credentials.delete_credential,
        query=NoQuery,
        body=NO_BODY,
        returns={204: Returns(description="It is gone")},
        problems=("in_use",),
    ),
)

INTEGRATIONS: Final[tuple[Operation[Any, Any], ...]] = (
    Operation(
        method="GET",
        path="/v1/integrations",
        scope="read",
        tag="credentials",
        summary="List integrations",
        handler=integrations.list_integrations,
        query=PageQuery,
        body=NO_BODY,
        returns={200: Returns(description="A page", type=Page[Integration])},
    ),
    Operation(
        method="POST",
        path="/v1/integrations",
        scope="write",
        tag="credentials",
        summary="Store an integration",
        description=(
            "The default integration of a provider lends its credential to nodes that name none for the "
            "slot of that name. A new default one takes the place of another."
        ),
        handler=integrations.create_integration,
        query=NoQuery,
        body=Body(type=integrations.NewIntegration),
        example={"provider": "github", "name": "Our organisation", "is_default": True},
        returns={
            201: Returns(description="The integration", type=Integration, headers=("Location",))
        },
        problems=("name_taken",),
    ),
    Operation(
        method="GET",
        path="/v1/integrations/{integration_id}",
        scope="read",
        tag="credentials",
        summary="Read an integration",
        handler=integrations.get_integration,
        query=NoQuery,
        body=NO_BODY,
        returns={200: _INTEGRATION},
    ),
    Operation(
        method="PUT",
        path="/v1/integrations/{integration_id}",
        scope="write",
        tag="credentials",
        summary="Change an integration",
        description="Only fields that are sent change.",
        handler=integrations.update_integration,
        query=NoQuery,
        body=Body(type=integrations.IntegrationChange),
        example={"is_default": True},
        returns={200: _INTEGRATION},
        problems=("name_taken",),
    ),
    Operation(
        method="DELETE",
        path="/v1/integrations/{integration_id}",
        scope="write",
        tag="credentials",
        summary="Delete an integration",
        description="Its credential stays.",
        handler=integrations.delete_integration,
        query=NoQuery,
        body=NO_BODY,
        returns={204: Returns(description="It is gone")},
    ),
)
