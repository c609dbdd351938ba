{{/* Name of all objects. Labels and suffixes must fit 63 characters. */}}
{{- define "millstream.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* What the Deployment selects its pods by: never the version. */}}
{{- define "millstream.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "millstream.labels" -}}
{{ include "millstream.selectorLabels" . }}
app.kubernetes.io/part-of: millstream
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "millstream.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "millstream.account" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "millstream.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* What the operator does with the objects of jobs. Nothing here is a wildcard, and no rule is for what the operator does not
     call: tests/tests/kubernetes/operator/chart.rs compares these rules with the API server's log. */}}
{{- define "millstream.rules" -}}
- apiGroups: [millstream.dev]
  # patch: the finalizer that holds what is deleted until its files are erased. Nothing else is written there.
  resources: [streamjobs, streamjobsnapshots]
  verbs: [list, watch, patch]
- apiGroups: [millstream.dev]
  resources: [streamjobs/status, streamjobsnapshots/status]
  verbs: [patch]
# Clusters that enforce the rights behind owner references ask for this.
- apiGroups: [millstream.dev]
  resources: [streamjobs/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [controllerrevisions, deployments, statefulsets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  # create, delete: pods that check a new version of a job, and pods that erase files when no coordinator can. delete: pods whose token is lost.
  verbs: [list, watch, create, delete]
# Whether the claim of a store is shared by nodes.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get]
- apiGroups: [""]
  resources: [serviceaccounts, services]
  verbs: [list, watch, create, patch]
# get: SQL text that a job refers to.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch]
# Certificates and tokens of jobs, by name. RBAC cannot say "those it made"; the operator lists and watches none.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, update]
# Why pods of a StatefulSet are refused.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}
