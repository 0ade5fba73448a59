/* The frame of the unit tests. A test program includes this once:
 *
 *     TEST(a_sentence_that_says_what_holds) { CHECK(1 + 1 == 2); }
 *     TESTS = { RUN(a_sentence_that_says_what_holds), TESTS_END };
 *
 * and is run with no arguments (all tests), names (those) or --list. It ends
 * with the line `N passed, N failed` and exits with 1 if one failed. */
#ifndef TEST_H
#define TEST_H

#include <stdio.h>
#include <string.h>

typedef struct test_case {
    const char *name;
    void (*run)(void);
} test_case;

extern const test_case test_cases[];
static int test_failures; /* of the test that runs */

#define TEST(name) static void test_##name(void)
#define RUN(name) { #name, test_##name }
#define TESTS const test_case test_cases[]
#define TESTS_END { NULL, NULL }

#define CHECK(condition) \
    test_check((condition) ? 1 : 0, #condition, __FILE__, __LINE__)

static void test_check(int good, const char *text, const char *file, int line)
{
    if (good) return;
    ++test_failures;
    if (test_failures <= 10)
        printf("%s:%d: not so: %s\n", file, line, text);
}

static int test_is_chosen(const char *name, int argc, char **argv)
{
    int at;
    for (at = 1; at < argc; ++at)
        if (strcmp(argv[at], name) == 0) return 1;
    return argc < 2;
}

int main(int argc, char **argv)
{
    int passed = 0, failed = 0;
    const test_case *test;
    int list = argc == 2 && strcmp(argv[1], "--list") == 0;
    for (test = test_cases; test->name != NULL; ++test) {
        if (list) puts(test->name);
        if (list || !test_is_chosen(test->name, argc, argv)) continue;
        test_failures = 0;
        test->run();
        if (test_failures != 0) printf("FAILED %s\n", test->name);
        if (test_failures != 0) ++failed;
        else ++passed;
    }
    if (!list) printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}

#endif
