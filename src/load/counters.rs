//! What a server tells of itself on `/metrics`, in the names of `vLLM` and of `SGLang`.

/// One reading. A value that the server does not tell is absent.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct ServerReading {
    /// Requests running, all engines of the server together.
    pub running: Option<f64>,
    /// Requests waiting, all engines together.
    pub waiting: Option<f64>,
    /// Share of the KV cache in use, 0 to 1, of the fullest engine.
    pub kv: Option<f64>,
    /// Preemptions since the server started.
    pub preemptions: Option<f64>,
    /// Prompt tokens looked up in the prefix cache since the server started.
    pub prefix_queries: Option<f64>,
    /// Prompt tokens found there.
    pub prefix_hits: Option<f64>,
}

impl ServerReading {
    /// Reads Prometheus' text format; lines that are none of ours are passed over.
    pub(crate) fn parse(text: &str) -> Self {
        let mut reading = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            // Labels may hold spaces, the value does not.
            let value = line.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok());
            let Some(value) = value.filter(|v| v.is_finite()) else {
                continue;
            };
            let (field, join): (_, fn(f64, f64) -> f64) = match name {
                "vllm:num_requests_running" | "sglang:num_running_reqs" => {
                    (&mut reading.running, |a, b| a + b)
                }
                "vllm:num_requests_waiting" | "sglang:num_queue_reqs" => {
                    (&mut reading.waiting, |a, b| a + b)
                }
                "vllm:kv_cache_usage_perc" | "vllm:gpu_cache_usage_perc" | "sglang:token_usage" => {
                    (&mut reading.kv, f64::max)
                }
                "vllm:num_preemptions_total" => (&mut reading.preemptions, |a, b| a + b),
                "vllm:prefix_cache_queries_total" | "vllm:gpu_prefix_cache_queries_total" => {
                    (&mut reading.prefix_queries, |a, b| a + b)
                }
                "vllm:prefix_cache_hits_total" | "vllm:gpu_prefix_cache_hits_total" => {
                    (&mut reading.prefix_hits, |a, b| a + b)
                }
                _ => continue,
            };
            *field = Some(field.map_or(value, |before| join(before, value)));
        }
        reading
    }

    /// Whether the server tells anything that we know.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_of_one_server_are_put_together() {
        let reading = ServerReading::parse(
            "# HELP vllm:num_requests_running Number of requests in model execution batches.\n\
             # TYPE vllm:num_requests_running gauge\n\
             vllm:num_requests_running{engine=\"0\",model_name=\"a b\"} 3.0\n\
             vllm:num_requests_running{engine=\"1\",model_name=\"a b\"} 4.0\n\
             vllm:num_requests_waiting_by_reason{engine=\"0\"} 9.0\n\
             vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\n\
             vllm:kv_cache_usage_perc{engine=\"1\"} 0.5\n\
             vllm:prefix_cache_hits_total{engine=\"0\"} 1.2e+06\n\
             vllm:num_preemptions_total NaN\n",
        );
        assert_eq!(
            reading,
            ServerReading {
                running: Some(7.0),
                kv: Some(0.5),
                prefix_hits: Some(1.2e6),
                ..ServerReading::default()
            }
        );
        assert!(ServerReading::parse("<html>\nnot found 404\n").is_empty());
    }

    #[test]
    fn sglang_has_names_of_its_own() {
        let reading = ServerReading::parse(
            "sglang:num_running_reqs{model_name=\"m\"} 2.0\nsglang:num_queue_reqs 1\nsglang:token_usage 0.1\n",
        );
        assert_eq!(
            (reading.running, reading.waiting, reading.kv),
            (Some(2.0), Some(1.0), Some(0.1))
        );
    }
}
