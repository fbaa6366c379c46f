//! The page's own words, in both of its languages. What was recorded (labels, messages, reasons) is shown as it is.

use crate::stats::Judgement;

/// A language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Language {
    /// English
    #[default]
    En,
    /// Chinese
    Zh,
}

/// The same in English and in Chinese. `{}` stands for a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word(&'static str, &'static str);

impl Language {
    /// For the page's `lang`.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh-CN",
        }
    }

    pub(super) fn say(self, word: Word) -> &'static str {
        match self {
            Self::En => word.0,
            Self::Zh => word.1,
        }
    }

    /// With the values in the places of `{}`.
    pub(super) fn fill(self, word: Word, values: &[&str]) -> String {
        let mut parts = self.say(word).split("{}");
        let mut said = parts.next().unwrap_or_default().to_owned();
        let mut values = values.iter();
        for part in parts {
            said += values.next().unwrap_or(&"");
            said += part;
        }
        said
    }

    /// A title or a column of the summary's tables.
    pub(super) fn term(self, english: &str) -> &str {
        let known = TERMS.iter().find(|(term, _)| *term == english);
        match (self, known) {
            (Self::Zh, Some((_, chinese))) => chinese,
            _ => english,
        }
    }
}

pub(super) const TITLE: Word = Word("rollbench: {}", "rollbench：{}");
pub(super) const QUESTION: Word = Word(
    "Does low precision make my rollout faster?",
    "低精度能让我的 rollout 更快吗？",
);
pub(super) const AMOUNT: Word = Word(
    "engine starts a cell: {}, measured steps each: {}",
    "每格 {} 次引擎启动，每次 {} 个计量步",
);
pub(super) const SESSION: Word = Word("session {}, {}", "会话 {}，{}");
pub(super) const RECORDED: Word = Word("", "标签、报错与警告按记录原文显示。");
pub(super) const NO_RESULTS: Word = Word("No results.", "没有结果。");
pub(super) const NUMBERS: Word = Word("the numbers", "数据");
pub(super) const NOT_DRAWN: Word = Word("Not drawn: {}", "未绘制：{}");
pub(super) const OVER: Word = Word("{} over {}", "{} 对比 {}");
pub(super) const NO_INTERVAL: Word = Word("no interval", "无置信区间");
pub(super) const AT_LEAST: Word = Word("at least {}", "至少 {}");
pub(super) const AT_MOST: Word = Word("at most {}", "至多 {}");
pub(super) const BY_LATENCY: Word = Word("judged by latency", "按延迟判断");
pub(super) const NO_CLAIM: Word = Word("nothing is claimed", "不作结论");
pub(super) const CONTRADICTED: Word = Word(
    "its profile contradicts what was measured",
    "性能剖析与测量结果矛盾",
);
pub(super) const NOT_COMPARED: Word = Word("not compared: {}", "未比较：{}");
pub(super) const TOK_S: Word = Word("output tok/s", "输出 tok/s");
pub(super) const BASELINE: Word = Word("baseline", "基线");
pub(super) const NO_BASELINE: Word = Word("no baseline to compare with", "没有可比较的基线");

pub(super) const SPEED_UPS: Word = Word("Is it faster?", "更快吗？");
pub(super) const SPEED_UP: Word = Word("Speed-up of each precision", "各精度的加速比");
pub(super) const SPEED_UP_TOLD: Word = Word(
    "Dot: the ratio of speeds over engine starts, above 1 is faster; bar: its interval (95 % for all comparisons of a model \
     together); an arrow is a bound. Shaded: differences too small to matter. A/A is the baseline measured twice: what this \
     machine cannot tell from nothing.",
    "点：多次引擎启动上的速度比，大于 1 为更快；横线：置信区间（同一模型的全部比较合起来 95 %）；箭头表示界。阴影：小到不必在意的差异。\
     A/A：基线测量两次，即本机分辨不出的差异。",
);
pub(super) const SPEED_AXIS: Word = Word(
    "times the speed of the baseline (log scale)",
    "相对基线的速度（对数坐标）",
);
pub(super) const TWICE: Word = Word("A/A (baseline twice)", "A/A（基线两次）");
pub(super) const ALL_MODELS: Word =
    Word("All {} models, geometric mean", "全部 {} 个模型，几何平均");
pub(super) const NO_COMPARISON: Word = Word(
    "no precision was measured beside a baseline that it may be compared with.",
    "没有任何精度与可比的基线一同测量。",
);

pub(super) const STEADY: Word = Word("Is it steady? Every measured step", "稳定吗？每一个计量步");
pub(super) const STEPS_OF: Word = Word("Steps: {}", "各步：{}");
pub(super) const STEPS_TOLD: Word = Word(
    "One mark a measured step; dash: the mean of its engine start. Marks of one start move together: that is why intervals are \
     made over starts. Hollow: the baseline measured twice. Crossed: not valid.",
    "每个标记为一个计量步；短横：该次引擎启动的均值。同一次启动的步一起偏移，因此置信区间按启动计算。空心：基线的第二次测量。叉：无效。",
);
pub(super) const BLOCK_AXIS: Word = Word(
    "block (one engine start of every cell)",
    "区组（每格各启动一次引擎）",
);
pub(super) const MAKESPAN_AXIS: Word =
    Word("makespan, s (lower is faster)", "完工时间 s（越低越快）");
pub(super) const THROUGHPUT_AXIS: Word =
    Word("output tok/s (higher is faster)", "输出 tok/s（越高越快）");
pub(super) const NO_STEPS: Word = Word("no measured step ended ({}).", "没有完成的计量步（{}）。");

pub(super) const BUBBLE: Word = Word(
    "Idle slots: sequences running over a step",
    "空闲槽位：一步之内运行中的序列",
);
pub(super) const RUNNING_OF: Word = Word("Sequences running: {}", "运行中的序列：{}");
pub(super) const RUNNING_TOLD: Word = Word(
    "The last measured step of each cell; the area above a line is the bubble: slots that are idle while the longest \
     responses end. Of the slot-time of all measured steps: {}.",
    "每格的最后一个计量步；线以上的面积即气泡：等待最长回复结束时空闲的槽位。占全部计量步槽位时间：{}。",
);
pub(super) const NO_RUNNING: Word = Word(
    "no engine told how many sequences ran when, or all lengths are equal.",
    "引擎未给出各时刻运行的序列数，或全部长度相等。",
);
pub(super) const SINCE_SUBMIT: Word = Word("seconds since the first submit", "首次提交后的秒数");
pub(super) const RUNNING: Word = Word("running", "运行中");

pub(super) const BATCH: Word = Word(
    "Which batch wins? Speed-up by sequences running",
    "哪种批量获益？按运行中序列数的加速比",
);
pub(super) const BATCH_OF: Word = Word("Speed-up by batch: {}", "按批量的加速比：{}");
pub(super) const BATCH_TOLD: Word = Word(
    "Left: the tail, few sequences, bound by memory; right: a full batch. A precision can win at one end and lose at the \
     other. Classes with less than 2 % of the time are left out.",
    "左：尾部，序列少，受内存带宽限制；右：满批。一种精度可能在一端获益而在另一端吃亏。占时不足 2 % 的类别未画出。",
);
pub(super) const RUNNING_AXIS: Word = Word("sequences running at the time", "当时运行的序列数");
pub(super) const TIMES_AXIS: Word = Word("times the baseline", "相对基线");

pub(super) const TAIL: Word = Word(
    "Where does the time go? The tail of a step",
    "时间花在哪里？一步的尾部",
);
pub(super) const COMPLETION_OF: Word = Word("Sequences ended: {}", "已结束的序列：{}");
pub(super) const COMPLETION_TOLD: Word = Word(
    "Thick: the median over all measured steps; thin: single steps, six at most. The bar at 90 % is the tail.",
    "粗线：全部计量步的中位数；细线：单个步，至多六个。90 % 处的横条即尾部。",
);
pub(super) const ENDED: Word = Word("sequences ended", "已结束的序列");
pub(super) const NO_COMPLETION: Word = Word(
    "no engine told when each sequence of a step ended.",
    "引擎未给出一步中每个序列的结束时间。",
);

pub(super) const COST: Word = Word(
    "What does it cost? Fidelity against speed",
    "代价是什么？保真度与速度",
);
pub(super) const FIDELITY_OF: Word = Word("Fidelity and speed: {}", "保真度与速度：{}");
pub(super) const FIDELITY_TOLD: Word = Word(
    "How far the policy is from the baseline's, beyond what the baseline is from itself; lower is closer, right is faster.",
    "策略与基线的距离，扣除基线与自身的距离；越低越接近，越右越快。",
);
pub(super) const KL_AXIS: Word = Word("excess K3 KL, nats a token", "超出的 K3 KL，nat/token");
pub(super) const NO_FIDELITY: Word = Word(
    "fidelity was not measured beside a speed-up (rollbench run --fidelity).",
    "未在测速的同时测量保真度（rollbench run --fidelity）。",
);

pub(super) const SERVED: Word = Word(
    "Served online: latency and throughput",
    "在线服务：延迟与吞吐",
);
pub(super) const PARETO_OF: Word = Word(
    "Speed for a user and of the device: {}",
    "单用户速度与设备速度：{}",
);
pub(super) const PARETO_TOLD: Word = Word(
    "Up and right is better. The number beside a marker is how many requests were in flight at most, or the rate of requests.",
    "越靠右上越好。标记旁的数字是同时进行的请求上限，或请求速率。",
);
pub(super) const USER_AXIS: Word = Word(
    "tok/s for one user (1000 / median TPOT ms)",
    "单用户 tok/s（1000 / TPOT 中位数 ms）",
);
pub(super) const DEVICE_AXIS: Word = Word("output tok/s of a device", "每设备输出 tok/s");
pub(super) const LATENCY_OF: Word = Word("{} over the sweep: {}", "{} 随负载变化：{}");
pub(super) const LATENCY_TOLD: Word = Word(
    "Thick, with markers: the median; pale: the 99th percentile. What is below 0.01 ms is drawn there.",
    "粗线带标记：中位数；浅色：第 99 百分位。小于 0.01 ms 的画在 0.01 ms 处。",
);
pub(super) const MS_AXIS: Word = Word("{}, ms (log scale)", "{}，ms（对数坐标）");
pub(super) const POINT_AXIS: Word = Word(
    "requests in flight at most, or requests per second",
    "同时进行的请求上限，或每秒请求数",
);
pub(super) const NO_SWEEP: Word = Word(
    "nothing was measured online at several points (--max-concurrency 1,4,16 or --request-rate 1,2,4).",
    "未在多个负载点在线测量（--max-concurrency 1,4,16 或 --request-rate 1,2,4）。",
);

pub(super) const WENT: Word = Word("How the session went", "会话过程");
pub(super) const SESSION_OF: Word = Word("What ran when: session {}", "何时运行了什么：会话 {}");
pub(super) const SESSION_TOLD: Word = Word(
    "Grey: waiting for the device, and stopping; pale: loading; half: warm-up; full: measured steps; outlined: a failed engine \
     start. The order within a block is random, by the seed.",
    "灰：等待设备与停止；浅色：加载；半色：预热；全色：计量步；描边：失败的引擎启动。区组内的顺序按种子随机。",
);
pub(super) const SINCE_START: Word = Word(
    "seconds since the first engine start",
    "首次引擎启动后的秒数",
);
pub(super) const NOTHING_RAN: Word = Word("no engine was started.", "没有启动过引擎。");
pub(super) const GATE: Word = Word("gate", "等待设备");
pub(super) const LOAD: Word = Word("load", "加载");
pub(super) const WARM_UP: Word = Word("warm-up", "预热");
pub(super) const MEASURED: Word = Word("measured step", "计量步");
pub(super) const PROFILED: Word = Word("profiled step", "剖析步");
pub(super) const STOP: Word = Word("stop", "停止");
pub(super) const FAILED: Word = Word("failed", "失败");

pub(super) const EVIDENCE: Word = Word("All numbers", "全部数据");
pub(super) const COMMAND: Word = Word("Command lines", "命令行");
pub(super) const ENVIRONMENT: Word = Word("Environment variables", "环境变量");
pub(super) const FILES: Word = Word(
    "The same numbers for programs: summary.json, summary.csv, steps.csv; the raw times are in the records beside them.",
    "供程序使用的同一数据：summary.json、summary.csv、steps.csv；原始时间在同目录的记录文件中。",
);

/// What a verdict says, in a few words.
pub(super) fn judged(language: Language, judgement: Judgement) -> &'static str {
    let word = match judgement {
        Judgement::Faster => Word("faster", "更快"),
        Judgement::Slower => Word("slower", "更慢"),
        Judgement::Equivalent => Word("equivalent", "相当"),
        Judgement::FasterUncertain => Word("faster, size uncertain", "更快，幅度不确定"),
        Judgement::SlowerUncertain => Word("slower, size uncertain", "更慢，幅度不确定"),
        Judgement::Undecided { .. } | Judgement::Unresolved => {
            Word("no difference detectable", "测不出差异")
        }
        Judgement::NoInterval => Word(
            "one engine start: cannot be told from luck",
            "只有一次引擎启动：无法与偶然区分",
        ),
    };
    language.say(word)
}

/// How far a cell came.
pub(super) fn outcome(language: Language, outcome: crate::report::model::Outcome) -> &'static str {
    use crate::report::model::Outcome;
    let word = match outcome {
        Outcome::Done => Word("done", "完成"),
        Outcome::Partial => Word("partial", "部分完成"),
        Outcome::Failed => Word("failed", "失败"),
        Outcome::Interrupted => Word("interrupted", "被中断"),
        Outcome::Running => Word("running", "进行中"),
        Outcome::Planned => Word("not begun", "未开始"),
        Outcome::Skipped => Word("skipped", "跳过"),
    };
    language.say(word)
}

/// Titles and columns of the summary's tables in Chinese.
const TERMS: &[(&str, &str)] = &[
    (
        "Offline: LLM.generate, all requests at once",
        "离线：LLM.generate，请求一次全部提交",
    ),
    (
        "Online: vllm serve, streaming client",
        "在线：vllm serve，流式客户端",
    ),
    ("Online: latency", "在线：延迟"),
    ("Online: under full load", "在线：满载时"),
    ("Imported", "导入的结果"),
    ("Against the baseline", "与基线比较"),
    ("Speed-up by running sequences", "按运行中序列数的加速比"),
    ("The whole training step", "整个训练步"),
    ("Remarks", "备注"),
    ("Warnings", "警告"),
    (
        "Processes that outlived their engine",
        "引擎结束后仍存活的进程",
    ),
    ("Files passed over", "略过的文件"),
    ("Checkpoints", "检查点"),
    ("Measured on", "测量环境"),
    ("Notes", "说明"),
    ("Model", "模型"),
    ("Precision", "精度"),
    ("Sent", "发送方式"),
    ("Measured", "已测"),
    ("Speed-up", "加速比"),
    ("Output tok/s", "输出 tok/s"),
    ("Total tok/s", "总 tok/s"),
    ("Requests/s", "请求/s"),
    ("Goodput/s", "有效请求/s"),
    ("Makespan s", "完工时间 s"),
    ("Tail %", "尾部 %"),
    ("Preempt.", "抢占"),
    ("KV tokens", "KV 容量 token"),
    ("Load s", "加载 s"),
    ("Measured by", "测量程序"),
    ("Load", "负载"),
    ("Runs", "次数"),
    ("From s", "起 s"),
    ("To s", "止 s"),
    ("At a time", "同时"),
    ("Merged chunks %", "合并的块 %"),
    ("low", "下界"),
    ("high", "上界"),
    ("block", "区组"),
    ("step", "步"),
    ("arm", "臂"),
    ("running", "运行中"),
    ("engine starts", "引擎启动"),
    ("gate s", "等待 s"),
    ("warm-up s", "预热 s"),
    ("steps s", "各步 s"),
    ("stop s", "停止 s"),
    ("excess K3 KL", "超出的 K3 KL"),
    ("tok/s/user", "tok/s/用户"),
    ("tok/s/device", "tok/s/设备"),
    ("most running", "最多运行"),
    ("time %", "时间 %"),
    ("bubble %", "气泡 %"),
    ("NEW over BASE", "NEW 对比 BASE"),
    ("Cell", "格"),
    ("Speed", "速度比"),
    ("Verdict", "结论"),
    ("Threshold", "阈值"),
    ("To decide", "如何判定"),
    ("Not compared", "未比较"),
    ("Why a number does not hold", "数字不成立的原因"),
    ("What differs in how they were measured", "测量条件的差异"),
    ("What", "项目"),
    ("Cells", "格"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_their_places() {
        let said = Language::Zh.fill(OVER, &["W8A8", "BF16"]);
        assert_eq!(said, "W8A8 对比 BF16");
        assert_eq!(Language::Zh.term("Model"), "模型");
        assert_eq!(Language::Zh.term("a label"), "a label");
        assert_eq!(Language::En.term("Model"), "Model");
    }
}
