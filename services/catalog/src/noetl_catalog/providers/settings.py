"""Settings of the providers of secrets; the names are those of the clouds' own tools."""

from noetl_common.environment.pieces import SettingsPiece
from pydantic import AliasChoices, Field, SecretStr

_NO_SECRET = SecretStr("")
_POD = "/var/run/secrets/kubernetes.io/serviceaccount"
_METADATA = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default"


class ProviderSettings(SettingsPiece):
    """Addresses and logins of the providers."""

    secret_provider_timeout_seconds: float = Field(default=8.0, gt=0)
    """Timeout of one call to a provider of secrets."""

    gcp_sm_endpoint: str = "https://secretmanager.googleapis.com/v1"
    """Google's secret manager."""
    gcp_metadata_token_url: str = f"{_METADATA}/token"
    """Source of Google's access tokens."""
    gcp_project: str = Field(
        default="", validation_alias=AliasChoices("GOOGLE_CLOUD_PROJECT", "GCP_PROJECT")
    )
    """Project of secrets that are named without one."""
    gcp_iam_credentials_endpoint: str = "https://iamcredentials.googleapis.com/v1"
    """Google's issuer of tokens for service accounts."""
    gcp_impersonate_sa: str = ""
    """Service account of references that name none."""
    gcp_iam_lifetime_secs: int = Field(default=3600, gt=0)
    """Life of those tokens in seconds."""

    k8s_api_url: str = ""
    """Kubernetes; else the pod's own."""
    kubernetes_service_host: str = Field(default="", validation_alias="KUBERNETES_SERVICE_HOST")
    """Set in every pod."""
    kubernetes_service_port: str = Field(default="443", validation_alias="KUBERNETES_SERVICE_PORT")
    """Set in every pod."""
    k8s_ca_file: str = f"{_POD}/ca.crt"
    """Its certificate authority."""
    k8s_token: SecretStr = _NO_SECRET
    """Its token; else the file's."""
    k8s_token_file: str = f"{_POD}/token"
    """File with the token."""
    k8s_namespace: str = ""
    """Namespace of references without one; else the pod's own."""
    k8s_namespace_file: str = f"{_POD}/namespace"
    """File with the pod's namespace."""

    vault_addr: str = Field(default="http://127.0.0.1:8200", validation_alias="VAULT_ADDR")
    """Vault."""
    vault_token: SecretStr = Field(default=_NO_SECRET, validation_alias="VAULT_TOKEN")
    """Its token."""
    vault_token_file: str = ""
    """File with the token."""
    vault_namespace: str = Field(default="", validation_alias="VAULT_NAMESPACE")
    """Its namespace."""
    vault_kv_mount: str = "secret"
    """Where its KV engine is mounted."""
    vault_ca_file: str = ""
    """Its certificate authority."""

    aws_access_key_id: str = Field(default="", validation_alias="AWS_ACCESS_KEY_ID")
    """Key of AWS."""
    aws_secret_access_key: SecretStr = Field(
        default=_NO_SECRET, validation_alias="AWS_SECRET_ACCESS_KEY"
    )
    """Its secret."""
    aws_session_token: SecretStr = Field(default=_NO_SECRET, validation_alias="AWS_SESSION_TOKEN")
    """Its session."""
    aws_region: str = Field(
        default="", validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION")
    )
    """Region of references without one."""
    aws_sm_endpoint: str = ""
    """Secrets manager of AWS; else its own."""
    aws_role_arn: str = Field(default="", validation_alias="AWS_ROLE_ARN")
    """Role of references without one."""
    aws_web_identity_token_file: str = Field(
        default="/var/run/secrets/eks.amazonaws.com/serviceaccount/token",
        validation_alias="AWS_WEB_IDENTITY_TOKEN_FILE",
    )
    """File with the identity that roles are given to."""
    aws_sts_duration_secs: int = Field(default=3600, gt=0)
    """Life of a role's keys in seconds."""
    aws_sts_endpoint_override: str = ""
    """AWS's STS; else its own."""

    azure_keyvault_vault: str = Field(default="", validation_alias="AZURE_KEYVAULT_VAULT")
    """Key vault of references without one."""
    azure_keyvault_dns_suffix: str = "vault.azure.net"
    """Domain of the key vaults."""
    azure_keyvault_endpoint: str = ""
    """One address for all key vaults, instead of their domain."""
    azure_keyvault_api_version: str = "7.4"
    """Their API version."""
    azure_imds_token_url: str = "http://169.254.169.254/metadata/identity/oauth2/token"  # noqa: S105 -- an address
    """Source of Azure's access tokens."""
    azure_keyvault_token: SecretStr = Field(
        default=_NO_SECRET, validation_alias="AZURE_KEYVAULT_TOKEN"
    )
    """An access token instead."""
    azure_tenant_id: str = Field(default="", validation_alias="AZURE_TENANT_ID")
    """Tenant of the application."""
    azure_client_id: str = Field(default="", validation_alias="AZURE_CLIENT_ID")
    """The application."""
    azure_client_secret: SecretStr = Field(
        default=_NO_SECRET, validation_alias="AZURE_CLIENT_SECRET"
    )
    """Its secret."""
    azure_oauth_scope: str = "https://graph.microsoft.com/.default"
    """Scope of references without one."""
    azure_aad_host: str = "https://login.microsoftonline.com"
    """Azure's issuer of tokens."""
