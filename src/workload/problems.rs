//! Real text with checkable answers, for what random token ids cannot tell: how near a quantized model's distribution is
//! to the baseline's, and whether it still answers right. Templates written for this, in English and Chinese:
//! arithmetic in words, small programs, instructions. A pure function of a count and a seed.

use std::collections::BTreeSet;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A question and what a right response ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What the user says; the checkpoint's chat template is put around it.
    pub text: String,
    /// A number or one word.
    pub answer: String,
}

impl Problem {
    /// Whether `response` ends with the answer: its last number, or its last word where the answer is a word. Commas
    /// between digits, trailing zeros of a decimal, case and punctuation do not matter.
    pub(crate) fn solved_by(&self, response: &str) -> bool {
        let number = self.answer.chars().all(|c| c.is_ascii_digit() || c == '-');
        let last = if number {
            last_number(response)
        } else {
            last_word(response)
        };
        last.is_some_and(|last| last.eq_ignore_ascii_case(&self.answer))
    }
}

fn last_number(text: &str) -> Option<String> {
    let joined = text.replace(',', "");
    let part = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
    joined
        .split(|c| !part(c))
        .map(|word| word.trim_end_matches(['.', '-']))
        .rfind(|word| word.chars().any(|c| c.is_ascii_digit()))
        .map(|word| match word.split_once('.') {
            Some((whole, zeros)) if zeros.chars().all(|c| c == '0') => whole.to_owned(),
            _ => word.to_owned(),
        })
}

fn last_word(text: &str) -> Option<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .rfind(|word| !word.is_empty())
        .map(str::to_owned)
}

/// `count` different problems. All templates take turns, as long as they have something new to ask.
pub(crate) fn problems(count: usize, seed: u64) -> Vec<Problem> {
    let mut draw = Draw(ChaCha20Rng::seed_from_u64(seed));
    let mut seen = BTreeSet::new();
    let mut problems = Vec::with_capacity(count);
    for template in TEMPLATES.iter().cycle() {
        if problems.len() >= count {
            break;
        }
        let problem = template(&mut draw);
        if seen.insert(problem.text.clone()) {
            problems.push(problem);
        }
    }
    problems
}

struct Draw(ChaCha20Rng);

impl Draw {
    /// A whole number from `low` to `high`, both included.
    fn number(&mut self, low: i64, high: i64) -> i64 {
        let span = u64::try_from(high - low + 1).unwrap_or(1);
        low + i64::try_from(self.0.next_u64() % span).unwrap_or(0)
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        let index = self.0.next_u64() % words.len() as u64;
        usize::try_from(index).map_or("", |index| words[index])
    }

    fn some<'a>(&mut self, words: &[&'a str], count: usize) -> Vec<&'a str> {
        let mut left = words.to_vec();
        while left.len() > count {
            let index = self.0.next_u64() % left.len() as u64;
            left.remove(usize::try_from(index).unwrap_or(0));
        }
        left
    }
}

const NAMES: &[&str] = &[
    "Ada", "Bo", "Dara", "Emil", "Fatima", "Goran", "Hana", "Ivo", "Kofi", "Lena", "Mira", "Nils",
    "Oya", "Pia", "Rosa", "Sami", "Tove",
];
const THINGS: &[&str] = &[
    "apples", "pencils", "stamps", "marbles", "tickets", "candles", "shells", "coins", "cards",
];
const WORDS: &[&str] = &[
    "amber", "basket", "copper", "desert", "engine", "forest", "garden", "harbor", "island",
    "jacket", "kettle", "ladder", "marble", "needle", "orange", "pepper", "quartz", "ribbon",
    "silver", "timber",
];
const PEOPLE_ZH: &[&str] = &[
    "小明", "小红", "阿强", "丽丽", "建国", "晓雯", "子涵", "梓轩",
];
const THINGS_ZH: &[&str] = &[
    "苹果", "铅笔", "邮票", "弹珠", "贝壳", "卡片", "饼干", "气球",
];

fn problem(text: String, answer: &impl ToString) -> Problem {
    Problem {
        text,
        answer: answer.to_string(),
    }
}

/// A question in English whose answer is a number.
fn ask(text: &str, answer: i64) -> Problem {
    problem(
        format!("{text} Explain step by step, then give the number alone on the last line."),
        &answer,
    )
}

/// The same in Chinese.
fn ask_zh(text: &str, answer: i64) -> Problem {
    problem(format!("{text}请一步一步说明，最后一行只写数字。"), &answer)
}

type Template = fn(&mut Draw) -> Problem;

const TEMPLATES: [Template; 24] = [
    |d| {
        let (name, things) = (d.of(NAMES), d.of(THINGS));
        let (a, b, c) = (d.number(3, 60), d.number(3, 60), d.number(2, 40));
        let text = format!(
            "{name} has {a} {things}, buys {b} more and is given {c}. How many {things} does {name} have now?"
        );
        ask(&text, a + b + c)
    },
    |d| {
        let (name, things) = (d.of(PEOPLE_ZH), d.of(THINGS_ZH));
        let (a, b) = (d.number(20, 90), d.number(3, 19));
        let text = format!(
            "{name}有{a}个{things}，送给同学{b}个，又买来{b}个的两倍。现在有多少个{things}？"
        );
        ask_zh(&text, a + b)
    },
    |d| {
        let (rate, hours, rest) = (d.number(4, 12) * 10, d.number(2, 9), d.number(5, 35));
        let text = format!(
            "A train travels {rate} kilometres each hour for {hours} hours and then another {rest} kilometres. How many kilometres is that?"
        );
        ask(&text, rate * hours + rest)
    },
    |d| {
        let (speed, hours) = (d.number(4, 12) * 10, d.number(2, 9));
        let text = format!(
            "一辆汽车每小时行驶{speed}千米，{hours}小时后离终点还有{speed}千米。全程多少千米？"
        );
        ask_zh(&text, speed * (hours + 1))
    },
    |d| {
        let (a, b, c) = (d.number(2, 9), d.number(11, 49), d.number(2, 9));
        let text = format!(
            "What does this Python program print?\n\n```python\ntotal = {c}\nfor i in range({a}):\n    total += {b}\nprint(total)\n```\n"
        );
        ask(&text, c + a * b)
    },
    |d| {
        let (a, b) = (d.number(3, 9), d.number(2, 7));
        let text = format!(
            "下面的 Python 程序输出什么？\n\n```python\nx = {b}\nfor i in range({a}):\n    x = x + i\nprint(x)\n```\n"
        );
        ask_zh(&text, b + a * (a - 1) / 2)
    },
    |d| {
        let mut words = d.some(WORDS, 4);
        words.sort_unstable();
        let shown = format!("{}, {}, {}, {}", words[2], words[0], words[3], words[1]);
        let text = format!(
            "Sort these words alphabetically: {shown}. Then write only the third word on the last line."
        );
        problem(text, &words[2])
    },
    |d| {
        let words = d.some(WORDS, 3);
        let text = format!(
            "请从下面三个英文单词中找出最长的一个，如果一样长就选最后一个：{}、{}、{}。先简单说明，最后一行只写这个单词。",
            words[0], words[1], words[2]
        );
        let longest = words.iter().max_by_key(|word| word.len());
        problem(text, longest.unwrap_or(&""))
    },
    |d| {
        let (a, k) = (d.number(4, 40), d.number(2, 15));
        let text = format!(
            "A rectangle is {a} metres long and {k} metres wide. What is its perimeter in metres?"
        );
        ask(&text, 2 * (a + k))
    },
    |d| {
        let (a, k) = (d.number(4, 30), d.number(2, 15));
        let text = format!("一个长方形长{a}米，宽{k}米，它的面积是多少平方米？");
        ask_zh(&text, a * k)
    },
    |d| {
        let (name, other) = (d.of(NAMES), d.of(NAMES));
        let (age, times, years) = (d.number(5, 15), d.number(2, 5), d.number(2, 20));
        let text = format!(
            "{name} is {age} years old. {other}'s teacher is {times} times as old. How old will the teacher be in {years} years?"
        );
        ask(&text, age * times + years)
    },
    |d| {
        let (name, age, gap) = (d.of(PEOPLE_ZH), d.number(6, 15), d.number(20, 35));
        let years = d.number(3, 12);
        let text = format!("{name}今年{age}岁，妈妈比{name}大{gap}岁。{years}年后妈妈多少岁？");
        ask_zh(&text, age + gap + years)
    },
    |d| {
        let (price, count, change) = (d.number(2, 9), d.number(3, 25), d.number(1, 30));
        let text = format!(
            "A shop sells candles for {price} coins each. Rosa buys {count} and pays with {} coins. How many coins come back?",
            price * count + change
        );
        ask(&text, change)
    },
    |d| {
        let (price, count) = (d.number(3, 12), d.number(3, 15));
        let paid = (price * count / 50 + 1) * 50;
        let text = format!("一本练习本{price}元，买{count}本，付给售货员{paid}元。应找回多少元？");
        ask_zh(&text, paid - price * count)
    },
    |d| {
        let values: Vec<i64> = (0..5).map(|_| d.number(1, 60)).collect();
        let limit = d.number(15, 45);
        let text = format!(
            "What does this Python program print?\n\n```python\nvalues = {values:?}\nprint(sum(v for v in values if v > {limit}))\n```\n"
        );
        ask(&text, values.iter().filter(|v| **v > limit).sum())
    },
    |d| {
        let values: Vec<i64> = (0..6).map(|_| d.number(1, 40)).collect();
        let text = format!(
            "下面的程序输出什么？\n\n```python\nvalues = {values:?}\nprint(len([v for v in values if v % 2 == 0]))\n```\n"
        );
        ask_zh(&text, values.iter().map(|v| i64::from(v % 2 == 0)).sum())
    },
    |d| {
        let (pages, days, more) = (d.number(5, 30), d.number(3, 14), d.number(2, 10));
        let text = format!(
            "{} reads {pages} pages a day for {days} days, then {more} pages more each day for another {days} days. How many pages is that in total?",
            d.of(NAMES)
        );
        ask(&text, pages * days + (pages + more) * days)
    },
    |d| {
        let (boxes, each, broken) = (d.number(4, 20), d.number(6, 24), d.number(1, 5));
        let text = format!(
            "仓库里有{boxes}箱杯子，每箱{each}个，运输时打碎了{broken}个。还剩多少个完好的杯子？"
        );
        ask_zh(&text, boxes * each - broken)
    },
    |d| {
        let last = d.number(8, 40);
        ask(
            &format!("Find the sum of the whole numbers from 1 to {last}."),
            last * (last + 1) / 2,
        )
    },
    |d| {
        let (first, step, place) = (d.number(1, 9), d.number(2, 9), d.number(6, 15));
        let text = format!("一个等差数列的第一项是{first}，公差是{step}。它的第{place}项是多少？");
        ask_zh(&text, first + step * (place - 1))
    },
    |d| {
        let word = d.of(WORDS);
        let reversed: String = word.chars().rev().collect();
        let text = format!(
            "Spell the word \"{word}\" backwards. Name the letters one by one, then write the reversed word alone on the last line."
        );
        problem(text, &reversed)
    },
    |d| {
        let word = d.of(WORDS);
        let vowels = word.chars().map(|c| i64::from("aeiou".contains(c))).sum();
        let text = format!("英文单词 \"{word}\" 中一共有多少个元音字母（a、e、i、o、u）？");
        ask_zh(&text, vowels)
    },
    |d| {
        let (k, a) = (d.number(3, 9), d.number(4, 30));
        let text = format!(
            "A rope of {} metres is cut into {k} equal pieces. How long are two of the pieces together, in metres?",
            k * a
        );
        ask(&text, 2 * a)
    },
    |d| {
        let (first, second) = (d.number(11, 60), d.number(3, 12));
        let text = format!("甲数是{first}，乙数是甲数与{second}的和的两倍。乙数是多少？");
        ask_zh(&text, 2 * (first + second))
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_problems_and_no_two_are_alike() {
        let some = problems(200, 7);
        assert_eq!(some, problems(200, 7));
        assert_eq!(some[..50], problems(50, 7));
        assert_ne!(some, problems(200, 8));
        let texts: BTreeSet<&str> = some.iter().map(|p| p.text.as_str()).collect();
        assert_eq!(texts.len(), 200);
        assert!(some.iter().all(|p| !p.answer.is_empty()));
        assert!(some.iter().filter(|p| !p.text.is_ascii()).count() >= 90);
    }

    #[test]
    fn an_answer_is_the_last_thing_that_is_said() {
        let number = problem(String::new(), &1200);
        for right in [
            "so 3 + 4 ... \n1,200",
            "**1200.**",
            "= 1200.00 metres",
            "答案是1200。",
        ] {
            assert!(number.solved_by(right), "{right}");
        }
        for wrong in ["1200, no: 12", "-1200", "1200.5", "", "twelve hundred"] {
            assert!(!number.solved_by(wrong), "{wrong}");
        }
        let word = problem(String::new(), &"amber");
        assert!(word.solved_by("The third word is:\n**Amber**."));
        assert!(!word.solved_by("amber or not"));
    }

    #[test]
    fn answers_are_right() {
        let some = problems(24, 3);
        let of = |start: &str| {
            some.iter()
                .find(|p| p.text.starts_with(start))
                .expect(start)
        };
        let numbers = |text: &str| -> Vec<i64> {
            text.split(|c: char| !c.is_ascii_digit())
                .filter_map(|word| word.parse().ok())
                .collect()
        };
        let sum = of("Find the sum of the whole numbers");
        let last = numbers(&sum.text)[1];
        assert_eq!(sum.answer, (1..=last).sum::<i64>().to_string());
        let rope = of("A rope of");
        let found = numbers(&rope.text);
        assert_eq!(rope.answer, (found[0] / found[1] * 2).to_string());
        let spelled = of("Spell the word");
        assert_eq!(spelled.answer.len(), 6);
    }
}
