# What settled needs on AWS, as in template.yaml: queues, table, schedules, the role of the schedules, the function that
# runs turns, its event source mappings, and alarms. It does not contain the HTTP function. Build the bundle yourself.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.60"
    }
  }
}

variable "name" {
  description = "The name of all resources, as in aws://REGION/NAME."
  type        = string
  default     = "signup"
}

variable "bundle" {
  description = "A zip file with settled[aws], your machine, and functions.py."
  type        = string
}

variable "handler" {
  description = "The function that lambda_handler returned."
  type        = string
  default     = "functions.work"
}

variable "timeout" {
  description = "The timeout of one invocation, in seconds."
  type        = number
  default     = 60
}

variable "keep_finished" {
  description = "How long finished instances are kept, in seconds."
  type        = number
  default     = 2592000
}

variable "environment" {
  description = "Variables for the function, such as SIGNUP_SMTP."
  type        = map(string)
  default     = {}
}

variable "alarm_email" {
  description = "Who is told by e-mail when an alarm begins or ends. AWS asks the address for its consent first."
  type        = string
  default     = ""
}

variable "alarm_topics" {
  description = "The ARNs of SNS topics of your own that are told."
  type        = list(string)
  default     = []
}

data "aws_caller_identity" "here" {}
data "aws_region" "here" {}
data "aws_partition" "here" {}

locals {
  account   = data.aws_caller_identity.here.account_id
  region    = data.aws_region.here.name
  retention = 1209600 # 14 days, the longest that SQS keeps a message

  # With the account in the URL, a cold start makes no request to find it.
  url = "aws://${local.region}/${var.name}?account=${local.account}&keep_finished=${var.keep_finished}"
}

resource "aws_dynamodb_table" "records" {
  name         = var.name
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "key"
  range_key    = "part"

  attribute {
    name = "key"
    type = "S"
  }
  attribute {
    name = "part"
    type = "S"
  }
  ttl {
    attribute_name = "expires"
    enabled        = true
  }
  point_in_time_recovery {
    enabled = true
  }
}

resource "aws_sqs_queue" "messages" {
  name                        = "${var.name}.fifo"
  fifo_queue                  = true
  content_based_deduplication = true # for messages of the Scheduler, which cannot set a deduplication id
  deduplication_scope         = "messageGroup"
  fifo_throughput_limit       = "perMessageGroupId"
  max_message_size            = 1048576 # for the largest message, however many of its characters have to be escaped
  message_retention_seconds   = local.retention
  visibility_timeout_seconds  = 6 * var.timeout

  # SQS' limit. It also counts the receives of a parked message, of a message whose neighbour in the batch fails, and
  # those of an outage: 410 in two weeks.
  redrive_policy = jsonencode({ maxReceiveCount = 1000, deadLetterTargetArn = aws_sqs_queue.dead.arn })
}

resource "aws_sqs_queue" "dead" {
  name                      = "${var.name}-dead.fifo"
  fifo_queue                = true
  max_message_size          = 1048576
  message_retention_seconds = local.retention
}

resource "aws_sqs_queue" "delays" {
  name                       = "${var.name}-delays"
  max_message_size           = 1048576
  message_retention_seconds  = local.retention
  visibility_timeout_seconds = 6 * var.timeout
  redrive_policy             = jsonencode({ maxReceiveCount = 1000, deadLetterTargetArn = aws_sqs_queue.dead_delays.arn })
}

resource "aws_sqs_queue" "dead_delays" {
  name                      = "${var.name}-delays-dead"
  max_message_size          = 1048576
  message_retention_seconds = local.retention
}

resource "aws_sqs_queue" "dead_schedules" {
  name                      = "${var.name}-schedules-dead"
  message_retention_seconds = local.retention
}

resource "aws_scheduler_schedule_group" "timers" {
  name = var.name
}

resource "aws_iam_role" "scheduler" {
  name = "${var.name}-scheduler"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = {
        "aws:SourceAccount" = local.account
        "aws:SourceArn"     = aws_scheduler_schedule_group.timers.arn
      } }
    }]
  })
}

resource "aws_iam_role_policy" "scheduler" {
  name = "send"
  role = aws_iam_role.scheduler.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "sqs:SendMessage"
      Resource = [aws_sqs_queue.messages.arn, aws_sqs_queue.dead_schedules.arn]
    }]
  })
}

resource "aws_iam_role" "work" {
  name = "${var.name}-work"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Principal = { Service = "lambda.amazonaws.com" }, Action = "sts:AssumeRole" }
    ]
  })
}

resource "aws_iam_role_policy" "work" {
  name = "settled"
  role = aws_iam_role.work.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect = "Allow"
        Action = [
          "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:DeleteItem", "dynamodb:ConditionCheckItem", "dynamodb:Query",
        ]
        Resource = aws_dynamodb_table.records.arn
      },
      {
        Effect = "Allow"
        Action = [
          "sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility",
          "sqs:GetQueueAttributes",
        ]
        Resource = [aws_sqs_queue.messages.arn, aws_sqs_queue.delays.arn]
      },
      { # for what is not settled's and names no instance
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = [aws_sqs_queue.dead.arn, aws_sqs_queue.dead_delays.arn]
      },
      {
        Effect   = "Allow"
        Action   = ["scheduler:CreateSchedule", "scheduler:UpdateSchedule", "scheduler:DeleteSchedule"]
        Resource = "arn:${data.aws_partition.here.partition}:scheduler:${local.region}:${local.account}:schedule/${var.name}/*"
      },
      {
        Effect    = "Allow"
        Action    = "iam:PassRole"
        Resource  = aws_iam_role.scheduler.arn
        Condition = { StringEquals = { "iam:PassedToService" = "scheduler.amazonaws.com" } }
      },
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.work.arn}:*"
      },
    ]
  })
}

resource "aws_cloudwatch_log_group" "work" {
  name              = "/aws/lambda/${var.name}-work"
  retention_in_days = 30
}

resource "aws_lambda_function" "work" {
  function_name    = "${var.name}-work"
  role             = aws_iam_role.work.arn
  filename         = var.bundle
  source_code_hash = filebase64sha256(var.bundle)
  handler          = var.handler
  runtime          = "python3.13"
  architectures    = ["arm64"]
  memory_size      = 512
  timeout          = var.timeout
  depends_on       = [aws_cloudwatch_log_group.work]

  environment {
    variables = merge(var.environment, { SETTLED_URL = local.url })
  }
}

resource "aws_lambda_event_source_mapping" "work" {
  for_each                = { messages = aws_sqs_queue.messages.arn, delays = aws_sqs_queue.delays.arn }
  event_source_arn        = each.value
  function_name           = aws_lambda_function.work.arn
  batch_size              = 10
  function_response_types = ["ReportBatchItemFailures"]
  depends_on              = [aws_iam_role_policy.work]
}

locals {
  alarms = {
    no-progress = {
      description = "The oldest message has waited for more than an hour."
      namespace   = "AWS/SQS", metric = "ApproximateAgeOfOldestMessage", statistic = "Maximum", threshold = 3600
      dimensions  = { QueueName = aws_sqs_queue.messages.name }
    }
    no-delays = {
      description = "The oldest wait of less than 15 minutes is more than an hour old."
      namespace   = "AWS/SQS", metric = "ApproximateAgeOfOldestMessage", statistic = "Maximum", threshold = 3600
      dimensions  = { QueueName = aws_sqs_queue.delays.name }
    }
    sqs-dead-letters = {
      description = "SQS has moved a message to its own dead-letter queue: it is not settled's, or was received a thousand times: see settled recover."
      namespace   = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", statistic = "Maximum", threshold = 0
      dimensions  = { QueueName = aws_sqs_queue.dead.name }
    }
    sqs-dead-delays = {
      description = "SQS has moved a delayed message to its own dead-letter queue: see settled recover."
      namespace   = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", statistic = "Maximum", threshold = 0
      dimensions  = { QueueName = aws_sqs_queue.dead_delays.name }
    }
    sqs-dead-schedules = {
      description = "The Scheduler could not send the messages of timers for a day: see settled recover."
      namespace   = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", statistic = "Maximum", threshold = 0
      dimensions  = { QueueName = aws_sqs_queue.dead_schedules.name }
    }
    lost-schedules = {
      description = "The Scheduler has given up a schedule: see settled recover, and settled wake."
      namespace   = "AWS/Scheduler", metric = "InvocationDroppedCount", statistic = "Sum", threshold = 0
      dimensions  = { ScheduleGroup = aws_scheduler_schedule_group.timers.name }
    }
    fails = {
      description = "The function that runs turns has raised, or was killed."
      namespace   = "AWS/Lambda", metric = "Errors", statistic = "Sum", threshold = 0
      dimensions  = { FunctionName = aws_lambda_function.work.function_name }
    }
    throttled = {
      description = "The function that runs turns was not started, for want of concurrency."
      namespace   = "AWS/Lambda", metric = "Throttles", statistic = "Sum", threshold = 0
      dimensions  = { FunctionName = aws_lambda_function.work.function_name }
    }
    dead-letters = {
      description = "A message became a dead letter: see settled dead-letters, and settled redrive."
      namespace   = "settled", metric = "${var.name}-dead-letters", statistic = "Sum", threshold = 0
      dimensions  = {}
    }
  }

  told = concat(var.alarm_topics, aws_sns_topic.alarms[*].arn)
}

resource "aws_sns_topic" "alarms" {
  count = var.alarm_email == "" ? 0 : 1
  name  = "${var.name}-alarms"
}

resource "aws_sns_topic_subscription" "alarms" {
  count     = var.alarm_email == "" ? 0 : 1
  topic_arn = aws_sns_topic.alarms[0].arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

resource "aws_cloudwatch_log_metric_filter" "dead_letters" {
  name           = "${var.name}-dead-letters"
  log_group_name = aws_cloudwatch_log_group.work.name
  pattern        = "\"dead-lettered\""
  metric_transformation {
    name          = "${var.name}-dead-letters"
    namespace     = "settled"
    value         = "1"
    default_value = "0"
  }
}

resource "aws_cloudwatch_metric_alarm" "all" {
  for_each            = local.alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  threshold           = each.value.threshold
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.told
  ok_actions          = local.told

  lifecycle {
    precondition {
      condition     = length(local.told) > 0
      error_message = "Give alarm_email or alarm_topics, or nobody learns of an alarm."
    }
  }
}

output "url" {
  description = "For settled doctor, settled get, and a worker of your own."
  value       = "aws://${local.region}/${var.name}"
}

output "queue_arn" {
  value = aws_sqs_queue.messages.arn
}

output "table_arn" {
  value = aws_dynamodb_table.records.arn
}
