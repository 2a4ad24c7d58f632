{{- define "connection-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "connection-operator.fullname" -}}
{{- $name := include "connection-operator.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "connection-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "connection-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed with serviceAccount.create: false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "connection-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "connection-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "connection-operator.labels" -}}
{{ include "connection-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "connection-operator.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "connection-operator.httpPort" -}}
{{- .Values.httpAddress | regexFind "[0-9]+$" -}}
{{- end -}}

{{- define "connection-operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "connection-operator.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* What the operator needs in each namespace whose Connections it acts on. */}}
{{- define "connection-operator.workingRules" -}}
{{- $reading := .Values.secretWatch | ternary (list "get" "list" "watch") (list "get") | toJson -}}
# The Secrets that Connections name. Never written.
- apiGroups: [""]
  resources: ["secrets"]
  verbs: {{ $reading }}
# The certificate authorities that Connections name.
- apiGroups: [""]
  resources: ["configmaps"]
  verbs: {{ $reading }}
# The kinds whose objects count as users of a Connection.
- apiGroups: [""]
  resources: ["pods"]
  verbs: ["list", "watch"]
- apiGroups: ["apps"]
  resources: ["deployments", "statefulsets", "daemonsets", "replicasets"]
  verbs: ["list", "watch"]
- apiGroups: ["batch"]
  resources: ["jobs", "cronjobs"]
  verbs: ["list", "watch"]
- apiGroups: ["events.k8s.io"]
  resources: ["events"]
  verbs: ["create", "patch"]
{{- end -}}
