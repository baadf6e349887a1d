"""Settings of the providers of secrets; the clouds' own tools use the same names."""

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
    """Address of Google's Secret Manager."""
    gcp_metadata_token_url: str = f"{_METADATA}/token"
    """Address of the metadata server that issues Google's access tokens."""
    gcp_project: str = Field(
        default="", validation_alias=AliasChoices("GOOGLE_CLOUD_PROJECT", "GCP_PROJECT")
    )
    """Google project of references without a project."""
    gcp_iam_credentials_endpoint: str = "https://iamcredentials.googleapis.com/v1"
    """Address of Google's issuer of tokens for service accounts."""
    gcp_impersonate_sa: str = ""
    """Google service account of references without a service account."""
    gcp_iam_lifetime_secs: int = Field(default=3600, gt=0)
    """Lifetime in seconds of tokens for Google's service accounts."""

    k8s_api_url: str = ""
    """Address of the Kubernetes API; empty for the pod's own cluster."""
    kubernetes_service_host: str = Field(default="", validation_alias="KUBERNETES_SERVICE_HOST")
    """Host of the Kubernetes API, which Kubernetes sets in every pod."""
    kubernetes_service_port: str = Field(default="443", validation_alias="KUBERNETES_SERVICE_PORT")
    """Port of the Kubernetes API, which Kubernetes sets in every pod."""
    k8s_ca_file: str = f"{_POD}/ca.crt"
    """File of the certificate authority of the Kubernetes API."""
    k8s_token: SecretStr = _NO_SECRET
    """Token for the Kubernetes API; empty for the token in the file."""
    k8s_token_file: str = f"{_POD}/token"
    """File of the token for the Kubernetes API."""
    k8s_namespace: str = ""
    """Kubernetes namespace of references without a namespace; empty for the pod's own."""
    k8s_namespace_file: str = f"{_POD}/namespace"
    """File of the pod's namespace."""

    vault_addr: str = Field(default="http://127.0.0.1:8200", validation_alias="VAULT_ADDR")
    """Address of Vault."""
    vault_token: SecretStr = Field(default=_NO_SECRET, validation_alias="VAULT_TOKEN")
    """Token for Vault."""
    vault_token_file: str = ""
    """File of the token for Vault."""
    vault_namespace: str = Field(default="", validation_alias="VAULT_NAMESPACE")
    """Namespace in Vault."""
    vault_kv_mount: str = "secret"
    """Mount path of Vault's KV engine."""
    vault_ca_file: str = ""
    """File of the certificate authority of Vault."""

    aws_access_key_id: str = Field(default="", validation_alias="AWS_ACCESS_KEY_ID")
    """Id of the AWS access key."""
    aws_secret_access_key: SecretStr = Field(
        default=_NO_SECRET, validation_alias="AWS_SECRET_ACCESS_KEY"
    )
    """Secret of the AWS access key."""
    aws_session_token: SecretStr = Field(default=_NO_SECRET, validation_alias="AWS_SESSION_TOKEN")
    """Session token of temporary AWS credentials."""
    aws_region: str = Field(
        default="", validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION")
    )
    """AWS region of references without a region."""
    aws_sm_endpoint: str = ""
    """Address of AWS Secrets Manager; empty for the address of the region."""
    aws_role_arn: str = Field(default="", validation_alias="AWS_ROLE_ARN")
    """AWS role of references without a role."""
    aws_web_identity_token_file: str = Field(
        default="/var/run/secrets/eks.amazonaws.com/serviceaccount/token",
        validation_alias="AWS_WEB_IDENTITY_TOKEN_FILE",
    )
    """File of the web identity token with which AWS roles are assumed."""
    aws_sts_duration_secs: int = Field(default=3600, gt=0)
    """Lifetime in seconds of the credentials of an AWS role."""
    aws_sts_endpoint_override: str = ""
    """Address of AWS STS; empty for the address of the region."""

    azure_keyvault_vault: str = Field(default="", validation_alias="AZURE_KEYVAULT_VAULT")
    """Azure Key Vault of references without a vault."""
    azure_keyvault_dns_suffix: str = "vault.azure.net"
    """Domain of Azure Key Vaults."""
    azure_keyvault_endpoint: str = ""
    """One address for all Azure Key Vaults, instead of their domain."""
    azure_keyvault_api_version: str = "7.4"
    """API version of Azure Key Vault."""
    azure_imds_token_url: str = "http://169.254.169.254/metadata/identity/oauth2/token"  # noqa: S105 -- an address
    """Address of the metadata server that issues Azure's access tokens."""
    azure_keyvault_token: SecretStr = Field(
        default=_NO_SECRET, validation_alias="AZURE_KEYVAULT_TOKEN"
    )
    """Access token for Azure Key Vault, instead of a token of the metadata server."""
    azure_tenant_id: str = Field(default="", validation_alias="AZURE_TENANT_ID")
    """Tenant of the Azure application."""
    azure_client_id: str = Field(default="", validation_alias="AZURE_CLIENT_ID")
    """Id of the Azure application."""
    azure_client_secret: SecretStr = Field(
        default=_NO_SECRET, validation_alias="AZURE_CLIENT_SECRET"
    )
    """Secret of the Azure application."""
    azure_oauth_scope: str = "https://graph.microsoft.com/.default"
    """Azure scope of references without a scope."""
    azure_aad_host: str = "https://login.microsoftonline.com"
    """Address of Azure's issuer of tokens."""
