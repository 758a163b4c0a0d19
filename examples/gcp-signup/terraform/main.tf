# What settled needs on Google Cloud: database, topic, push subscription, task queue, the services that run turns and
# serve HTTP, a service account for each, and alarms. Build the image yourself: see Dockerfile.

terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.0"
    }
  }
}

variable "project" {
  description = "The id of the project."
  type        = string
}

variable "region" {
  description = "The region of all resources. Pub/Sub keeps order within one region."
  type        = string
  default     = "europe-west1"
}

variable "name" {
  description = "The name of all resources, as in gcp://PROJECT/NAME."
  type        = string
  default     = "signup"
}

variable "image" {
  description = "The image of both services."
  type        = string
}

variable "lease" {
  description = "The lease of a message and the timeout of a push request, in seconds."
  type        = number
  default     = 60
}

variable "keep_finished" {
  description = "How long finished instances are kept, in seconds."
  type        = number
  default     = 2678400
}

variable "environment" {
  description = "Variables for the services, such as SIGNUP_SMTP."
  type        = map(string)
  default     = {}
}

variable "web_callers" {
  description = "The principals that may call the web application, such as allUsers."
  type        = list(string)
  default     = []
}

variable "alarm_email" {
  description = "Who is told by e-mail when an alarm begins or ends."
  type        = string
  default     = ""
}

variable "notify" {
  description = "Notification channels of your own that are told."
  type        = list(string)
  default     = []
}

data "google_project" "here" {
  project_id = var.project
}

locals {
  pubsub    = "serviceAccount:service-${data.google_project.here.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
  audience  = "${var.name}-push"
  retention = "2678400s" # 31 days, the longest that Pub/Sub keeps a message
  database  = google_firestore_database.records.name
  url       = "gcp://${var.project}/${var.name}?location=${var.region}&database=${var.name}&lease=${var.lease}&keep_finished=${var.keep_finished}"

  # Every commit writes these fields, and no query uses them, so they need no index; only `status` does.
  exempt = {
    (var.name)            = ["body", "key", "tags", "updated", "version"]
    "${var.name}-letters" = ["id", "body", "reason", "at", "detail", "headers", "pieces"]
  }
}

# Records

resource "google_firestore_database" "records" {
  project                           = var.project
  name                              = var.name
  location_id                       = var.region
  type                              = "FIRESTORE_NATIVE"
  concurrency_mode                  = "PESSIMISTIC"
  delete_protection_state           = "DELETE_PROTECTION_ENABLED"
  point_in_time_recovery_enablement = "POINT_IN_TIME_RECOVERY_ENABLED"
}

resource "google_firestore_field" "exempt" {
  for_each = merge([
    for collection, fields in local.exempt : { for field in fields : "${collection}/${field}" => [collection, field] }
  ]...)
  project    = var.project
  database   = local.database
  collection = each.value[0]
  field      = each.value[1]
  index_config {}
}

resource "google_firestore_field" "expires" {
  project    = var.project
  database   = local.database
  collection = var.name
  field      = "expires"
  index_config {}
  ttl_config {}
}

# Messages

resource "google_pubsub_topic" "messages" {
  project = var.project
  name    = var.name
  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }
}

resource "google_pubsub_subscription" "messages" {
  project                    = var.project
  name                       = var.name
  topic                      = google_pubsub_topic.messages.id
  enable_message_ordering    = true
  ack_deadline_seconds       = var.lease
  message_retention_duration = local.retention

  expiration_policy {
    ttl = ""
  }
  push_config {
    push_endpoint = google_cloud_run_v2_service.work.uri
    oidc_token {
      service_account_email = google_service_account.of["push"].email
      audience              = local.audience
    }
  }
  retry_policy {
    minimum_backoff = "1s"
    maximum_backoff = "600s"
  }
  # No dead-letter policy: a hundred attempts, the maximum, last for some hours of an outage only. Then healthy messages
  # would be moved away, and later ones processed without them.
}

# Timers

resource "google_cloud_tasks_queue" "timers" {
  project  = var.project
  name     = var.name
  location = var.region
  retry_config {
    max_attempts = -1
    min_backoff  = "1s"
    max_backoff  = "600s"
  }
}

# Permissions

resource "google_service_account" "of" {
  for_each = {
    work   = "Runs turns."
    web    = "Serves HTTP: sends messages and reads records."
    push   = "Pub/Sub calls the service that runs turns as this account."
    timers = "Cloud Tasks publishes messages that are due as this account."
  }
  project      = var.project
  account_id   = "${var.name}-${each.key}"
  display_name = each.value
}

resource "google_pubsub_topic_iam_member" "publishes" {
  for_each = toset(["work", "web", "timers"])
  project  = var.project
  topic    = google_pubsub_topic.messages.id
  role     = "roles/pubsub.publisher"
  member   = google_service_account.of[each.key].member
}

resource "google_project_iam_member" "records" {
  for_each = { work = "roles/datastore.user", web = "roles/datastore.viewer" }
  project  = var.project
  role     = each.value
  member   = google_service_account.of[each.key].member
  condition {
    title      = "only ${var.name}"
    expression = "resource.name == \"${google_firestore_database.records.id}\""
  }
}

resource "google_cloud_tasks_queue_iam_member" "schedules" {
  for_each = toset(["roles/cloudtasks.enqueuer", "roles/cloudtasks.taskDeleter"])
  project  = var.project
  location = var.region
  name     = google_cloud_tasks_queue.timers.name
  role     = each.key
  member   = google_service_account.of["work"].member
}

resource "google_service_account_iam_member" "schedules" {
  service_account_id = google_service_account.of["timers"].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.of["work"].member
}

resource "google_service_account_iam_member" "pushes" {
  service_account_id = google_service_account.of["push"].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.pubsub
}

resource "google_cloud_run_v2_service_iam_member" "pushes" {
  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.work.name
  role     = "roles/run.invoker"
  member   = google_service_account.of["push"].member
}

resource "google_cloud_run_v2_service_iam_member" "web_callers" {
  for_each = toset(var.web_callers)
  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.web.name
  role     = "roles/run.invoker"
  member   = each.key
}

# Services

resource "google_cloud_run_v2_service" "work" {
  project          = var.project
  name             = "${var.name}-work"
  location         = var.region
  ingress          = "INGRESS_TRAFFIC_INTERNAL_ONLY" # Pub/Sub of the same project counts as internal
  custom_audiences = [local.audience]

  template {
    service_account                  = google_service_account.of["work"].email
    timeout                          = "${var.lease}s"
    max_instance_request_concurrency = 8

    containers {
      image = var.image
      dynamic "env" {
        for_each = merge(var.environment, {
          SETTLED_URL   = local.url
          PUSH_AUDIENCE = local.audience
          PUSH_EMAIL    = google_service_account.of["push"].email
          THREADS       = "8"
        })
        content {
          name  = env.key
          value = env.value
        }
      }
    }
  }
}

resource "google_cloud_run_v2_service" "web" {
  project  = var.project
  name     = "${var.name}-web"
  location = var.region

  template {
    service_account = google_service_account.of["web"].email
    timeout         = "60s"

    containers {
      image   = var.image
      command = ["uvicorn"]
      args    = ["web:app", "--host=0.0.0.0", "--port=8080"]
      dynamic "env" {
        for_each = merge(var.environment, { SETTLED_URL = local.url })
        content {
          name  = env.key
          value = env.value
        }
      }
    }
  }
}

# Alarms

resource "google_logging_metric" "dead_letters" {
  project = var.project
  name    = "${var.name}-dead-letters"
  filter  = "resource.type=\"cloud_run_revision\" resource.labels.service_name=\"${google_cloud_run_v2_service.work.name}\" \"dead-lettered\""
  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }
}

locals {
  alarms = {
    no-progress = {
      display   = "The oldest message has waited for more than an hour."
      filter    = "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${google_pubsub_subscription.messages.name}\" AND metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\""
      aligner   = "ALIGN_MAX"
      threshold = 3600
    }
    unauthorized-calls = {
      display   = "The service that runs turns was called without a valid token of Pub/Sub."
      filter    = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${google_cloud_run_v2_service.work.name}\" AND metric.type=\"run.googleapis.com/request_count\" AND metric.labels.response_code=\"401\""
      aligner   = "ALIGN_DELTA"
      threshold = 0
    }
    failing-work = {
      display   = "The service that runs turns has raised, was killed, or could not be started."
      filter    = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${google_cloud_run_v2_service.work.name}\" AND metric.type=\"run.googleapis.com/request_count\" AND metric.labels.response_code_class=\"5xx\" AND metric.labels.response_code!=\"503\""
      aligner   = "ALIGN_DELTA"
      threshold = 0
    }
    failing-web = {
      display   = "The service that accepts events has raised, was killed, or could not be started."
      filter    = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${google_cloud_run_v2_service.web.name}\" AND metric.type=\"run.googleapis.com/request_count\" AND metric.labels.response_code_class=\"5xx\""
      aligner   = "ALIGN_DELTA"
      threshold = 0
    }
    failing-timers = {
      display   = "Timers cannot be published: attempts of Cloud Tasks fail."
      filter    = "resource.type=\"cloud_tasks_queue\" AND resource.labels.queue_id=\"${google_cloud_tasks_queue.timers.name}\" AND metric.type=\"cloudtasks.googleapis.com/queue/task_attempt_count\" AND metric.labels.response_code!=\"200\""
      aligner   = "ALIGN_DELTA"
      threshold = 10
    }
    dead-letters = {
      display   = "A message became a dead letter: see settled dead-letters, and settled redrive."
      filter    = "resource.type=\"cloud_run_revision\" AND metric.type=\"logging.googleapis.com/user/${google_logging_metric.dead_letters.name}\""
      aligner   = "ALIGN_DELTA"
      threshold = 0
    }
  }

  told = concat(var.notify, google_monitoring_notification_channel.email[*].name)
}

resource "google_monitoring_notification_channel" "email" {
  count        = var.alarm_email == "" ? 0 : 1
  project      = var.project
  display_name = "${var.name}-alarms"
  type         = "email"
  labels       = { email_address = var.alarm_email }
}

resource "google_monitoring_alert_policy" "all" {
  for_each              = local.alarms
  project               = var.project
  display_name          = "${var.name}-${each.key}"
  combiner              = "OR"
  notification_channels = local.told
  documentation {
    content = each.value.display
  }
  conditions {
    display_name = each.value.display
    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.threshold
      duration        = "0s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = each.value.aligner
      }
    }
  }

  lifecycle {
    precondition {
      condition     = length(local.told) > 0
      error_message = "Give alarm_email or notify, or nobody learns of an alarm."
    }
  }
}

output "url" {
  description = "For settled doctor, settled get, and a worker of your own."
  value       = local.url
}

output "web" {
  value = google_cloud_run_v2_service.web.uri
}
